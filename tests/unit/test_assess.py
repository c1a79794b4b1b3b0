"""What was observed, as the rules read it."""

from autopyfactory.assess import Observed, state_of, together
from autopyfactory.batch.tally import Tally
from autopyfactory.board import claim_of
from autopyfactory.model import JobCount, PilotCounts, Snapshot
from tests.unit.world import START, make_queue

PILOTS = Snapshot(Tally(), "pool", START, START)


def test_jobs_in_transfer_are_those_that_the_queue_counts() -> None:
    cells = (
        JobCount("SCORE", "managed", {"transferring": 3}),
        JobCount("SCORE", "user", {"transferring": 9}),
        JobCount("MCORE", "managed", {"transferring": 20}),
    )
    observed = Observed(PILOTS, Snapshot(cells, "wms panda", START, START))
    queue = make_queue("Q", labels="managed")
    found = state_of(queue, observed, claim_of(queue), (), pilots=PilotCounts(), left=0)
    assert found.transferring == 23
    parts = make_queue(
        "Q", labels="managed", by_type={"SCORE": {"walltime": 7200.0}, "MCORE": {"walltime": 60.0}}
    ).parts
    states = [state_of(part, observed, claim_of(part), (), pilots=PilotCounts(), left=0) for part in parts]
    assert [state.transferring for state in states] == [3, 20]
    whole = together(states, PilotCounts(running=2))
    assert (whole.transferring, whole.walltime, whole.pilots.running) == (23, 60.0, 2)
