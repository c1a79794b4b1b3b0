"""What to do with held pilots: the shipped table, and which row speaks of a pilot.

Codes and labels are HTCondor's (its manual, "Hold Reason Codes"); what to do is experience. Code 16 is no hold: the
input is on its way. A row of a `[held NAME]` section is like one here and is asked first.
"""

import re
from collections.abc import Iterable, Mapping

from autopyfactory.config.models import HeldOptions
from autopyfactory.model import Pilot

Rows = Mapping[str, HeldOptions]

_RENEW = "renew the proxy or token of the queue; then 'condor_release' helps at once"
_FILES = "make room and give the factory's account the right to write below pilot_log_dir, then release or remove them"
_SITE = "read the reason, report it to the site's admins"

SHIPPED: Rows = {
    "by-hand": HeldOptions(code=("1", "15"), action="leave"),
    "no-gahp": HeldOptions(
        match="failed to start gahp", action="pause", remedy="look into the gahp's log, its folder must be writable"
    ),
    "no-credential": HeldOptions(
        match="job has no credentials", action="pause", remedy="set proxy or token of the queue"
    ),
    "no-delegation": HeldOptions(
        match="proxy delegation failed", action="pause", remedy="the CE does not take the proxy, authenticate by token"
    ),
    "arc-refuses": HeldOptions(
        code=("0",),
        match=r"^HTTP response \d+",
        action="pause",
        remedy="an ARC CE refuses: with a proxy authenticate by token, for ARC 6 cannot delegate it; else see its log",
    ),
    "arc-unreachable": HeldOptions(code=("0",), match=r"curl_easy_perform\(\) failed", action="release"),
    "credential": HeldOptions(code=("4",), action="release", after=600.0, remedy=_RENEW),
    "credential-of-grid": HeldOptions(
        code=("0",), match=r"\b(proxy|credential|token|certificate)", action="release", after=600.0, remedy=_RENEW
    ),
    "gram": HeldOptions(code=("2",), action="tell", remedy="look the GRAM error up, then release or remove them"),
    "policy": HeldOptions(
        code=("3",),
        action="tell",
        remedy="periodic_hold or on_exit_hold of the queue was true, release or remove them",
    ),
    "policy-undefined": HeldOptions(
        code=("5", "27"), action="remove", remedy="an expression of the queue or schedd has no value, correct submit.X"
    ),
    "no-start": HeldOptions(
        code=("6",),
        action="remove",
        remedy="a node could not execute the wrapper: look at executable, report the node",
    ),
    "files-here": HeldOptions(code=("7", "8", "9", "10", "14", "22", "23"), action="pause", remedy=_FILES),
    "transfer": HeldOptions(code=("11", "12", "13", "18"), action="release"),
    "hook": HeldOptions(code=("19", "48"), action="remove", remedy=_SITE),
    "by-site": HeldOptions(code=("21", "26"), action="remove", after=1800.0, remedy=_SITE),
    "too-large": HeldOptions(
        code=("32", "33"), action="remove", remedy="what pilots transfer is larger than the pool allows"
    ),
    "resources": HeldOptions(
        code=("34",), action="remove", remedy="pilots used more than they asked for, raise memory or cores of the queue"
    ),
    "container": HeldOptions(code=("35", "45"), action="remove", remedy=_SITE),
    "duration": HeldOptions(code=("46", "47"), action="remove", remedy="the allowed time is over, lower walltime"),
    # Only words of what the batch system surely has not taken: released, such a pilot is submitted once more.
    "gahp-unreachable": HeldOptions(
        match=r"^submission command failed.*(unable to contact slurm controller \(connect failure\)"
        "|unable to (contact|send message to) qmaster|cannot connect to server)",
        action="release",
        times=30,
        after=120.0,
    ),
    "gahp-refused": HeldOptions(
        match="^submission command failed",
        action="tell",
        remedy="where no reason follows, submit a job by hand as this account to see it, then release or remove them;"
        " after a time-out or a lost answer only remove them, the batch system may have taken them all the same",
    ),
    "gahp-removed": HeldOptions(
        match="^job removed from batch queue manually",
        action="remove",
        remedy="the batch system killed them: by its admin, or longer than walltime",
    ),
    "slurm-by-hand": HeldOptions(match="JobHeldUser", action="leave"),
    "slurm-start": HeldOptions(match="launch_failed_requeued_held|JobHoldMaxRequeue", action="release"),
    "slurm-limits": HeldOptions(
        match="BadConstraints|Partition(Time|Node)Limit",
        action="tell",
        remedy="the partition never starts them: correct walltime, cores, memory or batchqueue, then kill them",
    ),
    "slurm-account": HeldOptions(
        match="Invalid(Account|QOS)|(Account|QOS)NotAllowed",
        action="tell",
        remedy="the account may not use the partition: correct account, or ask Slurm's admin, then kill them",
    ),
    "lsf-by-hand": HeldOptions(match="^PSUSP$", action="leave"),
    "torque-by-hand": HeldOptions(match="^H$", action="leave"),
}
"""By name; the first one that fits counts."""

OTHER = "other"
_OTHER = HeldOptions(match=".*", action="tell", remedy="release or remove them, or write a section [held NAME]")


def table(own: Rows) -> Rows:
    """Return the rows of the configuration and the shipped ones, in the order they are asked; a name stands once."""
    return {**own, **{name: row for name, row in SHIPPED.items() if name not in own}}


def row_of(rows: Rows, pilot: Pilot) -> tuple[str, HeldOptions]:
    """Return the first row that speaks of a held pilot, with its name."""
    return next(((name, row) for name, row in rows.items() if fits(row, pilot)), (OTHER, _OTHER))


def fits(row: HeldOptions, pilot: Pilot) -> bool:
    """Tell whether a row speaks of a held pilot: code and reason, where it names them."""
    codes = {str(pilot.hold_code), f"{pilot.hold_code}:{pilot.hold_subcode}"}
    return (not row.code or not codes.isdisjoint(row.code)) and (
        not row.match or re.search(row.match, pilot.hold_reason, re.IGNORECASE) is not None
    )


def summary(pilots: Iterable[Pilot], length: int = 100) -> str:
    """Return for example `4 held: 3 x 'Error from slot1: no space' (code 13:2), 1 x 'H'`: the commonest two.

    HTCondor's code is written as a row's `code` takes it. Reasons that differ in numbers only are one.
    """
    counts: dict[str, int] = {}
    examples: dict[str, str] = {}
    for pilot in pilots:
        code, reason = _code(pilot), pilot.hold_reason
        key = re.sub(r"\d+", "#", reason) + code
        counts[key] = counts.get(key, 0) + 1
        examples.setdefault(key, f"'{_short(reason, length) or 'no reason given'}'{code}")
    common = sorted(counts, key=lambda key: (-counts[key], key))[:2]
    told = ", ".join(f"{counts[key]} x {examples[key]}" for key in common)
    return f"{sum(counts.values())} held: {told}{', ...' if len(counts) > len(common) else ''}"


def _code(pilot: Pilot) -> str:
    if pilot.hold_code is None:
        return ""
    return f" (code {pilot.hold_code}{f':{pilot.hold_subcode}' if pilot.hold_subcode else ''})"


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."
