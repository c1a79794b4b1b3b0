"""Gates: the status of the site sets the number, also where there is no demand.

The words are PanDA's. `online` and `brokeroff` serve; a word in neither table blocks the queue (see
`assess.obstacle`), for nobody knows what it means.
"""

from autopyfactory.sched.rule import Ask, Kind, Need, Outcome, QueueState, Rule

SERVING = frozenset({"online", "brokeroff"})
TEST = frozenset({"test"})
OFFLINE = frozenset({"offline", "standby", "maintenance", "paused"})
KNOWN = SERVING | TEST | OFFLINE

DEFAULT_TEST = 1
DEFAULT_OFFLINE = 0


def _gate(name: str, words: frozenset[str], default: int) -> Rule:
    def apply(ask: Ask, state: QueueState) -> Outcome | None:
        if state.site is None:
            raise LookupError(f"the rule {name} needs the site's status")
        if state.site.status not in words:
            return None
        option: int | None = getattr(state.options, name)
        pilots = default if option is None else option
        why = f"the site is {state.site.status}"
        if state.demand and state.demand.testing:
            why += f", of label {' or '.join(state.demand.testing)} {state.demand.activated} jobs wait"
        return Outcome(Ask(pilots), why, {"status": state.site.status})

    return Rule(name, Kind.GATE, apply, frozenset({Need.SITE}), option=name)


GATES = (
    _gate("status_test", TEST, DEFAULT_TEST),
    _gate("status_offline", OFFLINE, DEFAULT_OFFLINE),
)
