"""GRAM and this host, struck by faults."""

import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from autopyfactory.batch import ALL_STATES, Batch, remove
from autopyfactory.batch.fork import ForkHost
from autopyfactory.batch.fork_files import alive
from autopyfactory.batch.fork_options import ForkOptions, ForkQueueOptions
from autopyfactory.batch.globus import Globus
from autopyfactory.batch.globus_options import GlobusOptions
from autopyfactory.batch.globus_rsl import GlobusQueueOptions
from autopyfactory.credentials import Chosen
from tests.testbed.forkhost import until
from tests.unit.batch import gram_stand_in
from tests.unit.batch.faulty import Site


class GlobusSite(Site):
    options: ClassVar[Mapping[str, object]] = {"backend": "globus", "type": "gt5", "proxy": "/p"}
    backend = GlobusQueueOptions()
    endpoints = ("gk1/jobmanager-pbs",)
    interval, max_age, deadline = 60.0, 600.0, 45.0

    def start(self) -> Batch:
        self.gram = gram_stand_in.StandIn(self.clock)
        self.credentials = Chosen(proxy=self.home / "proxy")
        (self.home / "proxy").touch()
        return Globus("local", GlobusOptions(at_once=1), self.context, run=self.gram)

    def living(self) -> int:
        return len(self.gram.jobs)

    def strike(self, fault: str) -> None:
        match fault:
            case "down" | "hung":
                self.gram.down["gk1"] = {"down": "CONNECTION-REFUSED"}.get(fault, fault)
            case "refused":
                self.gram.fail = ["UNMAPPED"] * 100
            case "half":
                self.gram.fail = ["", "UNMAPPED"] * 50
            case "vanished":
                self.gram.jobs.clear()
            case "strange":
                self.gram.set("UNKNOWN JOB STATE 512")

    def mend(self) -> None:
        self.gram.down, self.gram.fail = {}, []
        self.gram.set("ACTIVE")


class ForkSite(Site):
    """This host: one pilot runs, the others wait; its server is a folder."""

    options: ClassVar[Mapping[str, object]] = {"backend": "fork"}
    backend = ForkQueueOptions(allow_same_user=True)
    interval, max_age, deadline = 5.0, 60.0, 10.0

    def start(self) -> Batch:
        return ForkHost("local", ForkOptions(slots=1), self.context)

    @property
    def folder(self) -> Path:
        return self.home / "state/fork/local"

    def living(self) -> int:
        folder = self.folder if self.folder.is_dir() else self.folder.with_name("away")
        return sum(len(_cids(paper)) for paper in folder.glob("*.json")) - len(list(folder.glob("*.end")))

    def strike(self, fault: str) -> None:
        # One pilot runs, its three files are open: .out, .err, and last .log.
        until(lambda: any(self.folder.glob("*.claim")) and any((self.home / "logs").rglob("*.log")))
        if fault == "down":
            self.folder.rename(self.folder.with_name("away"))
            self.folder.touch()
        elif fault == "refused":
            (self.home / "logs").rename(self.home / "logs-before")
            (self.home / "logs").touch()
        elif fault == "vanished":
            [claim] = self.folder.glob("*.claim")
            guard = str(json.loads(claim.read_text())["process"])
            os.kill(int(guard.split()[1]), signal.SIGKILL)
            until(lambda: not alive(guard))

    def mend(self) -> None:
        for place in (self.folder, self.home / "logs"):
            if place.is_file():
                place.unlink()
        for away, place in (("state/fork/away", self.folder), ("logs-before", self.home / "logs")):
            if (self.home / away).exists():
                (self.home / away).rename(place)

    def end(self) -> None:
        remove(self.batch, "Q", ALL_STATES)
        super().end()


def _cids(paper: Path) -> range:
    return range(int(json.loads(paper.read_text())["count"]))
