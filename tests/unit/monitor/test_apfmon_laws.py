"""Whatever fails and whenever, the monitor knows every pilot in the end."""

from contextlib import suppress
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.errors import MonitorError
from autopyfactory.model import EndedPilot
from tests.testbed.apfmon import ApfmonServer
from tests.unit.monitor.kit import Hands, connect, report


class Round(NamedTuple):
    """A cycle of a queue: pilots submitted and ended, calls that fail, and whether the monitor lost all before."""

    queue: str
    submitted: int
    ended: int
    failing: set[int]
    forgets: bool


ROUNDS = st.builds(
    Round,
    st.sampled_from(["A", "B", "C"]),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sets(st.integers(0, 8), max_size=3),
    st.booleans(),
)


@given(st.lists(ROUNDS, max_size=6))
@settings(max_examples=40, deadline=None)
def test_the_monitor_knows_all_in_the_end(rounds: list[Round]) -> None:
    with ApfmonServer() as server:
        live, over = play(server, rounds)
        known = {job.cid: (job.label, job.state) for job in server.jobs.values()}
    assert {cid: known.get(cid) for cid in live} == {cid: (queue, "created") for cid, queue in live.items()}
    assert {cid: known.get(cid) for cid in over} == over


def play(server: ApfmonServer, rounds: list[Round]) -> tuple[dict[str, str], dict[str, tuple[str, str]]]:
    """Return the pilots that live, with their queue, and those told as ended since the monitor lost all."""
    clock = Hands()
    monitor = connect(server, clock, batch=2)
    live: dict[str, str] = {}
    over: dict[str, tuple[str, str]] = {}
    for turn, (queue, submitted, ended, failing, forgets) in enumerate(rounds):
        clock.at += 60
        cids = [f"{turn}.{n}" for n in range(submitted)]
        live |= dict.fromkeys(cids, queue)
        ending = [EndedPilot(cid, live[cid], "s", fault="lost" if n else "") for n, cid in enumerate([*live][:ended])]
        if forgets:
            server.forget()
            over.clear()
        server.failing = {len(server.calls) + n for n in failing}
        for _ in failing:
            with suppress(MonitorError):
                monitor.send([report(queue, clock.at, cids)], ending)
        server.failing = set()
        monitor.send([report(queue, clock.at, cids)], ending)
        over |= {pilot.cid: (live.pop(pilot.cid), "fault" if pilot.fault else "done") for pilot in ending}
    clock.at += 60
    monitor.send([report("A", clock.at)], [])
    return live, over
