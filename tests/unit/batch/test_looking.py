"""A backend that only looks, beside the daemon: it counts, and changes nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from autopyfactory.batch import Context
from autopyfactory.batch.condor import CondorSchedd, ScheddOptions
from autopyfactory.batch.condor_child import Spooled, Survey
from autopyfactory.batch.fork import ForkHost
from autopyfactory.batch.slurm import Slurm
from autopyfactory.child import KillableChild
from autopyfactory.model import PilotState
from tests.testbed.forkhost import TestHost
from tests.unit.batch.slurm_stand_in import Bed
from tests.unit.batch.test_condor import FakeChild, ad, job
from tests.unit.batch.test_condor_submit import context


def contents(folder: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_fork_beside_the_daemon(tmp_path: Path) -> None:
    with TestHost(tmp_path) as host:
        host.submit("sleep 30", count=3)
        host.host.poll()
        before = contents(host.folder)
        looking = ForkHost("local", host.host._options, replace(host.host._context, looking=True))
        states = {group.state: group.count for group in looking.poll().groups}
        assert sum(states.values()) == 3
        assert contents(host.folder).keys() >= before.keys()
        looking.close()
        host.host.close()
        # The daemon is gone: one that looks starts none of the pilots that wait.
        alone = ForkHost("local", host.host._options, replace(host.host._context, looking=True))
        untouched = []
        for _ in range(20):  # the guards of pilots that have just started write too, but not for long
            before = contents(host.folder)
            assert sum(group.count for group in alone.poll().groups) == 3
            untouched.append(contents(host.folder) == before)
        assert any(untouched[-5:])
        assert alone._starter is None


def test_fork_where_no_daemon_ever_was(tmp_path: Path) -> None:
    with TestHost(tmp_path) as host:
        looking = replace(host.host._context, looking=True)
        assert ForkHost("never", host.host._options, looking).poll().groups == ()
        assert not (host.folder.parent / "never").exists()


def test_commands_write_no_record(tmp_path: Path) -> None:
    bed = Bed(tmp_path)
    bed.batch.submit(bed.order(3))
    bed.poll()
    bed.slurm.set("COMPLETED", ids=[1])
    before = contents(tmp_path)
    looking = Slurm("local", bed.options, Context(bed.factory, bed.clock, 0, looking=True), run=bed.slurm)
    bed.clock.time += 30
    assert [(group.state, group.count) for group in looking.poll().groups] == [(PilotState.PENDING, 2)]
    assert contents(tmp_path) == before


def test_condor_fetches_and_removes_nothing() -> None:
    child = FakeChild(
        survey=Survey((ad(4, 1), ad(5, 1, HoldReasonCode=16))), completed=(job(0),), spooled=Spooled(late=(job(0),))
    )
    source = CondorSchedd("ap1", ScheddOptions(), replace(context(0), looking=True), child=cast(KillableChild, child))
    source.poll()
    assert {name for name, _ in child.calls} == {"survey", "completed"}
