"""Find a plug-in by its name: first in the alias table (imported only when used), then by entry point."""

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

ALIASES: dict[str, dict[str, str]] = {
    "autopyfactory.batch": {
        "condor": "autopyfactory.batch.condor:CondorSchedd",
        "fork": "autopyfactory.batch.fork:ForkHost",
        "globus": "autopyfactory.batch.globus:Globus",
        "lsf": "autopyfactory.batch.lsf:Lsf",
        "sge": "autopyfactory.batch.sge:Sge",
        "slurm": "autopyfactory.batch.slurm:Slurm",
        "torque": "autopyfactory.batch.torque:Torque",
    },
    "autopyfactory.wms": {
        "condor": "autopyfactory.wms.condor:CondorJobs",
        "json": "autopyfactory.wms.json:Json",
        "panda": "autopyfactory.wms.panda:Panda",
        "slurm": "autopyfactory.wms.slurm:SlurmJobs",
        "static": "autopyfactory.wms.static:Static",
        "sum": "autopyfactory.wms.sum:Sum",
    },
    "autopyfactory.monitor": {
        "apfmon": "autopyfactory.monitor.apfmon:Apfmon",
    },
}


def names(group: str) -> list[str]:
    """Return the known plug-in names of a group, shipped ones and those of installed packages."""
    return sorted({*ALIASES[group], *(point.name for point in entry_points(group=group))})


def load(group: str, name: str) -> Any:
    """Return the plug-in class.

    Raises LookupError with a did-you-mean for an unknown name, ImportError when its module cannot be
    imported.
    """
    target = ALIASES[group].get(name)
    if target is not None:
        module, _, attribute = target.partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=group, name=name):
        return point.load()
    close = difflib.get_close_matches(name, names(group), n=1)
    hint = f", did you mean '{close[0]}'?" if close else f"; known: {', '.join(names(group))}"
    raise LookupError(f"unknown plug-in '{name}'{hint}")
