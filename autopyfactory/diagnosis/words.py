"""The words in which causes are told: what each obstacle and each rule means, and what would have to change."""

from dataclasses import dataclass

from autopyfactory.report import Step
from autopyfactory.sched import RULES
from autopyfactory.sched.rule import Kind

SUBMITS = "submits"


@dataclass(frozen=True, slots=True)
class Cause:
    """Why pilots come, come slowly or do not come. Cycles with the same `key` have the same cause.

    `text` follows the colon of the first line, `change` says what would have to change, "" where nothing has to.
    `slow`: pilots come, fewer than are wanted.
    """

    key: str
    text: str
    change: str = ""
    slow: bool = False

    @property
    def flows(self) -> bool:
        """Tell whether pilots come as they are wanted."""
        return self.key == SUBMITS


_AFTER = "the queue then begins with one pilot and doubles"

BLOCKED = {
    "pause": "somebody has to resume it: 'autopyfactory resume QUEUE'",
    "drain": "somebody has to resume it: 'autopyfactory resume QUEUE'",
    "twin": "stop one of the two factories, then restart the other",
    "downtime": "mend the file of downtimes, or forget them all: 'autopyfactory downtime --all --cancel'",
    "disk": "make room there, or lower [factory] min_free",
    "pilots": f"the batch system has to answer again; {_AFTER}",
    "hidden": "the batch system has to show these pilots or their end; look there for them by their tags",
    "demand": f"the WMS has to answer with figures that are young enough; {_AFTER}",
    "site status": "the WMS's site table has to be there again, or the queue must not use it",
    "status": "the status has to be mended in the WMS",
    "wmsqueue": "correct the option wmsqueue and reload, or have the queue made in the WMS",
    "wms": "name a wms in the queue's section, or use rules that need no demand",
    "credential": "put a good credential in its place; it is looked at in every cycle",
    "part": "the log of the factory's start or reload tells what cannot be built; mend it and reload",
    "bug": "the log has the whole trace; please report it",
}
"""What would have to change, by the kind of obstacle."""

RULES_SAID = {
    "max_pending": ("the cap max_pending is reached", "pilots have to start, or max_pending has to be raised"),
    "max_pilots": ("the cap max_pilots is reached", "pilots have to end, or max_pilots has to be raised"),
    "max_per_cycle": ("max_per_cycle allows none", "max_per_cycle has to be raised"),
    "max_per_factory": (
        "the factory's limit max_per_factory is used up",
        "pilots of other queues have to end, or [factory] max_per_factory has to be raised",
    ),
    "max_held": ("too many pilots are held", "release or remove the held pilots; their hold reasons say what is wrong"),
    "endpoint": (
        "the endpoint does not work",
        "the endpoint has to work again: probes go there until one gets through",
    ),
    "ramp": ("it comes back slowly", "nothing: it doubles with each cycle until it is at full speed"),
    "max_submit_rate": ("its source is busy", "the next cycle gets a turn, or max_submit_rate has to be raised"),
    "throttle": (
        "a black hole swallows its pilots",
        "pilots have to live longer there: look into the output of the last",
    ),
    "empty_guard": (
        "its pilots find no work",
        "the WMS has to give work to its pilots: look into the output of the last",
    ),
    "downtime": (
        "there is a downtime",
        "the downtime has to end, or 'autopyfactory downtime QUEUE --cancel' takes it back",
    ),
    "transferring_limit": ("too many jobs are transferring", "their outputs have to arrive"),
    "turnover": ("running pilots will take the jobs", "nothing: they take them by themselves"),
    "status_test": ("", "the site has to become online in the WMS, or status_test has to be raised"),
    "status_offline": ("", "the site has to become online in the WMS, or status_offline has to be raised"),
}
"""What a rule that lowers a number means in plain words, and what would have to change."""


def kind_of(step: Step) -> Kind:
    """Return what the rule of a step may do."""
    return RULES[step.rule].kind if step.rule in RULES else Kind.LIMIT


def of_rule(step: Step) -> Cause:
    """Return a rule that lowers the number, as the cause."""
    said, change = RULES_SAID.get(step.rule, (step.rule, f"what the rule {step.rule} looks at has to change"))
    return Cause(step.rule, f"{said}: {step.why}" if said else f"{step.why} in the WMS", change)


def pilots_wait(count: int) -> str:
    """Return for example `1 pilot waits`."""
    return f"{count} pilot{'s' if count > 1 else ''} wait{'s' if count == 1 else ''}"
