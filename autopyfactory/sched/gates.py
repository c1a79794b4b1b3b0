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

_BLOCKED = "blocked while the site's status is unknown or a word that nobody knows"


def _status(state: QueueState, rule: str) -> str:
    if state.site is None:
        raise LookupError(f"the rule {rule} needs the site's status")
    return state.site.status


def _test(ask: Ask, state: QueueState) -> Outcome | None:
    """Set n while the site is in test; the burst and the guard against waiting pilots are AutoPyFactory 1's."""
    status, options, pilots = _status(state, "status_test"), state.options, state.pilots
    if status not in TEST:
        return None
    number = DEFAULT_TEST if options.status_test is None else options.status_test
    why = f"the site is {status}"
    if options.status_test_burst is not None and pilots.in_flight <= options.status_test_burst_up_to:
        number = options.status_test_burst
        why += f", only {pilots.in_flight} in flight"
    most = options.status_test_max_pending
    if most is not None and pilots.waiting > most:
        number = 0
        why += f", {pilots.waiting} waiting, more than {most}"
    return Outcome(Ask(number), why, {"status": status})


def _offline(ask: Ask, state: QueueState) -> Outcome | None:
    """Set n while the site is offline, or is so by another word."""
    status = _status(state, "status_offline")
    if status not in OFFLINE:
        return None
    option = state.options.status_offline
    return Outcome(Ask(DEFAULT_OFFLINE if option is None else option), f"the site is {status}", {"status": status})


GATES = (
    Rule(
        "status_test",
        Kind.GATE,
        _test,
        frozenset({Need.SITE}),
        option="status_test",
        formula=(
            "in test: n = the option (1 unless it is set); `status_test.burst` instead while at most"
            " `status_test.burst_up_to` are in flight; 0 while P > `status_test.max_pending`"
        ),
        example="`status_test = 1`: 1 pilot per cycle, whether 0 or 500 jobs are activated",
        unknown=_BLOCKED,
    ),
    Rule(
        "status_offline",
        Kind.GATE,
        _offline,
        frozenset({Need.SITE}),
        option="status_offline",
        formula="in offline, standby, maintenance or paused: n = the option (0 unless it is set)",
        example="`status_offline = 0`: none, though PanDA would hand out jobs",
        unknown=_BLOCKED,
    ),
)
