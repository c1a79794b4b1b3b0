"""One shape of a pilot, and what a job really gets of it behind each row of the condor backend."""

from collections.abc import Mapping

from tests.testbed.world import Options

SHAPE: Options = {"cores": 2, "job_cores": "SCORE:2", "memory": "301MB", "walltime": "601s"}

GOT: Mapping[str, Mapping[str, str]] = {
    # of the job's ad; of a partitionable slot a pool gives memory in steps of 128 MB
    "vanilla": {"RequestCpus": "2", "CpusProvisioned": "2", "RequestMemory": "301", "MemoryProvisioned": "384"},
    # of the job's ad at the other schedd, in a slot of 2 CPUs
    "grid condor": {"RequestCpus": "2", "CpusProvisioned": "2", "RequestMemory": "301"},
    # of Slurm's own record; it knows whole minutes only
    "grid slurm": {"Partition": "normal", "NumCPUs": "2", "MinMemoryNode": "301M", "TimeLimit": "00:11:00"},
    "grid arc": {"Partition": "normal", "NumCPUs": "2", "MinMemoryCPU": "151M", "TimeLimit": "00:11:00"},
    # of Grid Engine's own record; the script asks for no memory
    "grid sge": {"qname": "grid", "granted_pe": "smp", "slots": "2", "category": "-q grid -l h_rt=660 -pe * 2"},
    # of what a stand-in was asked for
    "grid pbs": {"nodes": "1:ppn=2", "mem": "301mb", "walltime": "660"},
    "grid lsf": {"-n": "2", "-R": "span[ptile=2]", "-W": "11"},
}
"""By row; wall time of the first two is their own removal rule."""


def of_row(row: str, job: Mapping[str, str]) -> dict[str, str | None]:
    """Return of a job what the table names."""
    return {name: job.get(name) for name in GOT[row]}
