"""What a queue can submit to: the rows of the table, by backend, type and subtype."""

from typing import NamedTuple


class Row(NamedTuple):
    """One thing to submit to, as the options `backend`, `type` and `subtype` name it."""

    backend: str
    type: str = ""
    subtype: str = ""
    title: str = ""


BY_TYPE = "batch"
"""The backend whose types are plug-ins, each with options of its own, by the same names."""

ROWS = (
    Row(BY_TYPE, "slurm", title="Slurm, by its own commands"),
    Row(BY_TYPE, "torque", title="Torque, by its own commands"),
    Row(BY_TYPE, "lsf", title="LSF, by its own commands"),
    Row(BY_TYPE, "sge", title="Grid Engine, by its own commands"),
    Row("condor", "vanilla", title="the pool of an HTCondor schedd"),
    Row("condor", "grid", "condor", "HTCondor-CE, or another schedd (Condor-C)"),
    Row("condor", "grid", "arc", "ARC CE"),
    Row("condor", "grid", "slurm", "Slurm by HTCondor's batch gahp, here or over ssh"),
    Row("condor", "grid", "pbs", "PBS or Torque by HTCondor's batch gahp, here or over ssh"),
    Row("condor", "grid", "lsf", "LSF by HTCondor's batch gahp, here or over ssh"),
    Row("condor", "grid", "sge", "Grid Engine by HTCondor's batch gahp, here or over ssh"),
    Row("condor", "grid", "gt2", "GRAM 2 gatekeeper, by a schedd of 9.0.1 or older"),
    Row("condor", "grid", "gt5", "GRAM 5 gatekeeper, by a schedd of 9.0.1 or older"),
    Row("condor", "grid", "cream", "CREAM CE, by a schedd older than 9.0.0"),
    Row("globus", "gt2", title="GRAM 2 gatekeeper, by globusrun"),
    Row("globus", "gt5", title="GRAM 5 gatekeeper, by globusrun"),
    Row("fork", title="child processes of this host"),
)


def plugin(backend: str, type: str) -> str:
    """Return the name of the plug-in that serves the queues of a backend and type."""
    return type if backend == BY_TYPE else backend


def written(plugin: str) -> str:
    """Return how a queue's section names a plug-in."""
    if any((row.backend, row.type) == (BY_TYPE, plugin) for row in ROWS):
        return f"backend = {BY_TYPE}, type = {plugin}"
    return f"backend = {plugin}"
