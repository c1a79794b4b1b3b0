"""What docs/batch.md has sudo allow is what is run as another account, no more and no less."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from autopyfactory.batch import Context, Order
from autopyfactory.batch.commands import CommandBatch
from autopyfactory.batch.commands_options import CommandOptions
from autopyfactory.batch.commands_words import Answer
from autopyfactory.batch.lsf import Lsf
from autopyfactory.batch.sge import Sge
from autopyfactory.batch.slurm import Slurm
from autopyfactory.batch.torque import Torque
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import SourceError
from autopyfactory.model import Pilot, PilotState, Shape
from autopyfactory.plugins import ALIASES, load
from autopyfactory.sched.options import RuleOptions
from tests.testbed.sudoers import of_page

GROUP = "autopyfactory.batch"

SYSTEMS: dict[type[CommandBatch], Answer] = {
    Slurm: Answer(0, '{"jobs": []}'),
    Torque: Answer(0),
    Lsf: Answer(255, "", "No job found\n"),
    Sge: Answer(0, "<job_info><queue_info/><job_info/></job_info>"),
}
"""How each says that there are no jobs."""


class Asked:
    """A `Run` that takes one pilot, lists none, and remembers what it was asked."""

    def __init__(self, nothing: Answer) -> None:
        self.nothing = nothing
        self.argvs: list[Sequence[str]] = []

    def __call__(self, argv: Sequence[str], deadline: float, stdin: str = "") -> Answer:
        self.argvs.append(argv)
        if re.search(r"/?(sbatch|qsub)$", argv[4] if argv[0] == "sudo" else ""):
            return Answer(0, "1\n")
        return Answer(0, "Job <1> is submitted to queue <grid>.\n") if "bsub" in str(argv) else self.nothing

    def close(self) -> None:
        return


def test_every_system_is_here() -> None:
    classes = {load(GROUP, name) for name in ALIASES[GROUP]}
    assert {kind for kind in classes if issubclass(kind, CommandBatch)} == SYSTEMS.keys()


@pytest.mark.parametrize("kind", SYSTEMS, ids=lambda kind: kind.source_kind)
def test_the_page_names_all_commands(kind: type[CommandBatch], tmp_path: Path) -> None:
    run = Asked(SYSTEMS[kind])
    factory = FactoryOptions(id="F1", host="here", state_dir=tmp_path / "state", submit_users=("pilot",))
    batch = kind("local", CommandOptions(), Context(factory, Clock()), run=run)
    wrapper = tmp_path / "wrapper.sh"
    wrapper.write_text("#!/bin/sh\n")
    section = QueueOptions(backend="batch", type=kind.source_kind, submit_user="pilot")
    queue = QueueConfig("Q", section, kind.QueueOptions(), RuleOptions())
    order = Order("s1", queue, "here", Shape(), 1, wrapper, tmp_path / "logs")
    assert len(batch.submit(order).cids) == 1
    pilots = [Pilot("1", "Q", PilotState.HELD)]
    for what in (batch.release_pilots, batch.remove_pilots):
        with suppress(SourceError):
            what(pilots)
    run_by_sudo = {Path(argv[4]).name for argv in run.argvs if argv[:4] == ["sudo", "-n", "-u", "pilot"]}
    assert len(run_by_sudo) == 3
    line = of_page(kind.source_kind).splitlines()[0]
    allowed = re.fullmatch(r"apf ALL=\(pilot\) NOPASSWD: (.*)", line)
    assert allowed
    assert {Path(path).name for path in allowed[1].split(", ")} == run_by_sudo
