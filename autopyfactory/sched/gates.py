"""Gates: the status of the site, or a downtime, sets the number, also where there is no demand.

The words are PanDA's. `online` and `brokeroff` serve; a word in neither table blocks the queue (see
`assess.obstacle`), for nobody knows what it means.
"""

from autopyfactory.model import Downtime
from autopyfactory.sched.rule import Ask, Kind, Need, QueueState, Rule, Ruling

SERVING = frozenset({"online", "brokeroff"})
TEST = frozenset({"test"})
OFFLINE = frozenset({"offline", "standby", "maintenance", "paused"})
KNOWN = SERVING | TEST | OFFLINE

DEFAULT_TEST = 1
DEFAULT_OFFLINE = 0

_BLOCKED = "blocked while the site's status is unknown or a word that nobody knows"


def _why(state: QueueState, status: str) -> str:
    testing = state.demand.testing if state.demand else ()
    if not state.demand or not testing:
        return f"the site is {status}"
    return f"the site is {status}, of label {' or '.join(testing)} {state.demand.activated} jobs wait"


def _status(state: QueueState, rule: str) -> str:
    if state.site is None:
        raise LookupError(f"the rule {rule} needs the site's status")
    return state.site.status


def _test(ask: Ask, state: QueueState) -> Ruling | None:
    """Set n while the site is in test; the burst and the guard against waiting pilots are AutoPyFactory 1's."""
    status, options, pilots = _status(state, "status_test"), state.options, state.pilots
    if status not in TEST:
        return None
    number = DEFAULT_TEST if options.status_test is None else options.status_test
    why = _why(state, status)
    if options.status_test_burst is not None and pilots.in_flight <= options.status_test_burst_up_to:
        number = options.status_test_burst
        why += f", only {pilots.in_flight} in flight"
    most = options.status_test_max_pending
    if most is not None and pilots.waiting > most:
        number = 0
        why += f", {pilots.waiting} waiting, more than {most}"
    return Ruling(Ask(number), why, {"status": status})


def _offline(ask: Ask, state: QueueState) -> Ruling | None:
    """Set n while the site is offline, or is so by another word."""
    status = _status(state, "status_offline")
    if status not in OFFLINE:
        return None
    option = state.options.status_offline
    return Ruling(Ask(DEFAULT_OFFLINE if option is None else option), _why(state, status), {"status": status})


def downtime_of(state: QueueState) -> Downtime | None:
    """Return the downtime that is on, or into which a pilot sent now would run; of several the one that ends last."""
    before = state.options.downtime_drain_before
    lead = (state.walltime or 0.0) if before is None else before
    near = [one for one in state.downtimes if one.start - lead <= state.now < one.end]
    return max(near, key=lambda one: one.end, default=None)


def _downtime(ask: Ask, state: QueueState) -> Ruling | None:
    """Send nothing that would run into a downtime."""
    downtime = downtime_of(state)
    if downtime is None:
        return None
    return Ruling(Ask(0), str(downtime) if downtime.start <= state.now else f"draining, {downtime}")


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
    Rule(
        "downtime",
        Kind.GATE,
        _downtime,
        formula=(
            "n = 0 from the start of a downtime less `downtime.drain_before` (the walltime of a pilot unless it is set)"
            " to its end; then the queue begins slowly"
        ),
        example=(
            "`walltime = 24h`, `autopyfactory downtime BNL_PROD --from '2026-11-24 08:00' --to +10h --why cooling`: no"
            " pilots from 08:00 of the day before to 18:00"
        ),
        unknown=(
            "without a walltime pilots are sent until the downtime begins; when the file of downtimes cannot be read"
            " every queue is blocked"
        ),
    ),
)
