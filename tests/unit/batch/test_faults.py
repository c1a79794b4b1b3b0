"""Every backend against every fault: never a pilot too many, one clear message, recovery by itself."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from autopyfactory.batch.faults import REPEAT, Faults
from autopyfactory.batch.source import PilotSource
from autopyfactory.board import Board
from autopyfactory.cycle import Cycle
from autopyfactory.explain import likeness, sentence
from autopyfactory.ledger import Ledger
from autopyfactory.model import EndedPilot
from autopyfactory.report import CycleReport
from autopyfactory.sched.options import RuleOptions
from tests.unit.batch.faulty import Site
from tests.unit.batch.faulty.commands import LsfSite, SgeSite, SlurmSite, TorqueSite
from tests.unit.batch.faulty.condor import CeSite, CondorSite
from tests.unit.batch.faulty.others import ForkSite, GlobusSite
from tests.unit.world import ManualClock

SITES: Mapping[str, type[Site]] = {
    "condor vanilla": CondorSite,
    "condor grid": CeSite,
    "fork": ForkSite,
    "slurm": SlurmSite,
    "torque": TorqueSite,
    "lsf": LsfSite,
    "sge": SgeSite,
    "globus": GlobusSite,
}

MOST = 6
CYCLE = 60.0
STRUCK = 8
"""Cycles that a fault lasts; with the last good answer older than max_age in the end."""

AFTER = 70
"""Cycles that a queue may take to come back: pilots that a schedd denies are given up after an hour."""

SAID = {
    "down": {
        "condor vanilla": "Failed to fetch ads from schedd",
        "condor grid": r"endpoint ce1\.example\.org:9619 is unreachable since",
        "fork": "fork local: no access to the pilots' files",
        "slurm": r"slurm local: squeue: no answer of slurmctld: .* \(it is down, or its log tells why\)",
        "torque": r"torque local: qstat: cannot connect to server .* \(pbs_server is down or cannot be reached\)",
        "lsf": "lsf local: bjobs: no answer within 20 s; it said: LSF is down",
        "sge": r"sge local: qstat: .*unable to send message to qmaster.* \(sge_qmaster is down or cannot be reached\)",
        "globus": "gk1/jobmanager-pbs is unreachable since",
    },
    "hung": {
        "condor vanilla": "schedd local: no answer within 20 s",
        "condor grid": r"endpoint ce1\.example\.org:9619 is silent since",
        "slurm": "slurm local: .*squeue: no answer within 20 s",
        "torque": "torque local: qstat: no answer within 20 s",
        "lsf": "lsf local: bjobs: no answer within 20 s",
        "sge": "sge local: qstat: no answer within 20 s",
        "globus": "gk1/jobmanager-pbs does not answer for its pilots: .*no answer within 15 s",
    },
    "refused": {
        "condor vanilla": "refused: schedd local: the schedd takes no more jobs: MAX_JOBS_PER_OWNER",
        "condor grid": r"held=4 .* max_held 0 \(4 pilots are held, more than 3: .*; release or remove them",
        "fork": "refused: cannot make the log folder",
        "slurm": r"refused: slurm local: sbatch: .*Invalid account.* \(correct account, or let",
        "torque": r"refused: torque local: qsub: Bad UID .* \(Torque's admin has to allow this host",
        "lsf": r"refused: lsf local: bsub: User permission denied.* \(LSF's admin has to allow",
        "sge": r"refused: sge local: qsub: denied: .* \(Grid Engine's admin has to add this host",
        "globus": r"refused: globus local: globusrun: .* \(the CE's admin has to map this subject",
    },
    "half": {
        "condor vanilla": "submitted 1: ",
        "condor grid": "held=2 ",
        "slurm": "submitted 1: .* refused: slurm local: sbatch: ",
        "torque": "submitted 1: .* refused: torque local: qsub: ",
        "lsf": "submitted 1: .* refused: lsf local: bsub: ",
        "sge": "submitted 1: .* refused: sge local: qsub: ",
        "globus": "submitted 1: .* refused: globus local: globusrun: ",
    },
    "vanished": {
        "condor vanilla": "accepted 2 pilots at .* shows neither them nor their end; look for submission",
        "condor grid": "accepted 2 pilots at .* shows neither them nor their end; look for submission",
        "fork": r"fork local: pilot \S+: lost: its guard process was killed or the host went down",
        "slurm": "slurm local: shows pilots no more and does not tell how they ended",
        "torque": "torque local: shows pilots no more and does not tell how they ended",
        "lsf": "lsf local: shows pilots no more and does not tell how they ended",
        "sge": "sge local: shows pilots no more and does not tell how they ended",
        # GRAM says of a job that is lost what it says of one that has ended.
        "globus": "submitted 2: ",
    },
    "strange": {
        "condor vanilla": "schedd local: it knows a JobStatus 9 that we do not, counted as unknown",
        "condor grid": "schedd local: it knows a JobStatus 9 that we do not, counted as unknown",
        "slurm": "slurm local: states that we do not know, counted as unknown: TELEPORTED",
        "torque": "torque local: states that we do not know, counted as unknown: Z",
        "lsf": "lsf local: states that we do not know, counted as unknown: Z",
        "sge": r"sge local: states that we do not know, counted as unknown: \?",
        "globus": "globus local: states that we do not know, counted as unknown: UNKNOWN JOB STATE 512",
    },
}
"""What the log says of each fault at each backend. Not here: a host has no server that hangs, takes all or none of a
submission, and has words of its own for the states of its pilots."""


class Factory:
    """The cycle of the site's queue, with the real parts around it."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.queue = site.queue(RuleOptions(fixed=2, max_pilots=MOST, max_held=3))
        self.ledger = Ledger(site.home / "submissions.jsonl", site.clock)
        self.source = PilotSource(
            f"{site.batch.source_kind} local",
            site.batch,
            self.ledger,
            site.clock,
            interval=site.interval,
            max_age=site.max_age,
            deadline=site.deadline,
            host="here",
        )
        board = Board(None, self.ledger.most_waiting)
        board.configure({"Q": self.queue}, [self.source], None)
        self.cycle = Cycle(
            self.queue,
            self.source,
            None,
            board,
            self.ledger,
            site.clock,
            make_order=site.order,
            credentials=lambda: site.credentials,
            endpoints=site.endpoints,
        )
        self.wrong: dict[str, str] = {}
        self.lines: dict[str, str] = {}

    def run(self, cycles: int) -> CycleReport:
        """Run cycles; keep what they say, each thing once."""
        for _ in range(cycles):
            self.site.clock.time += CYCLE
            report = self.cycle.run(Event())
            self.lines.setdefault(likeness(report), sentence(report))
            if report.error or report.blocked:
                self.wrong.setdefault(likeness(report), sentence(report))
            assert self.site.living() <= MOST
        return report


@pytest.mark.parametrize(("fault", "name"), [(fault, name) for fault, names in SAID.items() for name in names])
def test_no_pilot_too_many_one_message_and_recovery(
    tmp_path: Path, fault: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = SITES[name](tmp_path)
    try:
        factory = Factory(site)
        factory.run(2)
        site.clock.time += CYCLE
        assert factory.source.snapshot().value.in_flight == site.living() == 4
        factory.lines.clear()
        site.strike(fault)
        factory.run(STRUCK)
        if fault in {"down", "refused"}:
            assert site.living() == 4
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(warnings) <= 1, "one message of the source"
        assert len(factory.wrong) <= 3, "a cycle's line changes with the ramp, and when the last good count is too old"
        assert re.search(SAID[fault][name], "\n".join([*warnings, *factory.lines.values()]))

        site.mend()
        for _ in range(AFTER):
            if site.living() == MOST:
                break
            factory.run(1)
        report = factory.run(2)
        assert report.pilots is not None
        assert site.living() == report.pilots.in_flight == MOST
        assert not report.error
        assert not factory.ledger.unsettled(factory.source.name)
    finally:
        site.end()


def test_every_backend_stands_here() -> None:
    assert all(set(names) | {"fork"} == set(SITES) for names in SAID.values())


def test_faults_of_pilots_are_told_by_kind_and_once_an_hour(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    faults = Faults("slurm local", clock)

    def ended(fault: str, *cids: str, queue: str = "Q") -> list[EndedPilot]:
        return [EndedPilot(cid, queue, "s", fault=fault) for cid in cids]

    def said() -> list[Any]:
        records = [(record.levelname, record.getMessage()) for record in caplog.records]
        caplog.clear()
        return records

    caplog.set_level(logging.INFO)
    faults.tell([*ended("its node 17 failed", "a.0", "a.1"), *ended("", "a.2"), *ended("removed", "a.3", queue="R")])
    assert said() == [
        ("WARNING", "slurm local: 2 pilots, the first is a.0: its node 17 failed"),
        ("INFO", "slurm local: pilot a.3: removed"),
    ]
    clock.at += REPEAT - 1
    faults.tell([*ended("its node 18 failed", "b.0"), *ended("its node 18 failed", "b.1", queue="R")])
    assert said() == [("WARNING", "slurm local: pilot b.1: its node 18 failed")]
    clock.at += 1
    faults.tell(ended("its node 17 failed", "c.0"))
    assert said() == [("WARNING", "slurm local: pilot c.0: its node 17 failed")]
