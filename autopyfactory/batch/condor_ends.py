"""Which pilots have ended, each told once, from groups of jobs and from lists of completed ones."""

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

from autopyfactory.batch.condor_child import GRID, Ad
from autopyfactory.model import EndedPilot

COMPLETED = 4
REMOVED = 3

_REMEMBERED = 5_000


class Ends:
    """The ends of one schedd's pilots. Safe from many threads. `prefix` is that of its cids."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._lock = threading.Lock()
        self._news: list[EndedPilot] = []
        self._told: set[str] = set()
        self._by_submission: OrderedDict[str, set[str]] = OrderedDict()
        self._known: dict[str, tuple[int, int]] = {}
        self._counted: dict[str, tuple[int, int]] = {}
        self._at_ces: dict[str, float] = {}

    def cid(self, cluster: object, proc: object) -> str:
        """Return the name of a pilot."""
        return f"{self._prefix}{cluster}.{proc}"

    def hidden_in(self, groups: Iterable[Ad]) -> bool:
        """Tell whether the groups count completed pilots that are not told yet.

        Pilots of a submission never come back to life: one more has completed when fewer are alive or
        more are completed. The completed ones alone do not show it, for others leave the queue meanwhile.
        """
        alive: dict[str, int] = {}
        completed: dict[str, int] = {}
        for ad in groups:
            status, submission = ad.get("JobStatus"), str(ad.get("APF_SUBMISSION", ""))
            if status != REMOVED:
                counts = completed if status == COMPLETED else alive
                counts[submission] = counts.get(submission, 0) + int(ad["JobCount"])
        counted = {name: (alive.get(name, 0), count) for name, count in completed.items()}
        with self._lock:
            hidden = any(self._is_news(name, *now) for name, now in counted.items())
            self._counted = counted
            if not hidden:
                self._known = counted
            return hidden

    def _is_news(self, submission: str, alive: int, completed: int) -> bool:
        if submission not in self._known:
            return True
        was_alive, was_completed = self._known[submission]
        return alive < was_alive or completed > was_completed

    def tell_completed(self, jobs: Iterable[Ad]) -> bool:
        """Tell all completed jobs that are listed; return whether spooled ones wait, told with their output."""
        waiting = False
        with self._lock:
            before, self._told = self._told, set()
            for job in jobs:
                self._note_ce(job)
                cid = self.cid(job["ClusterId"], job["ProcId"])
                if cid not in before:
                    if job.get("StageInFinish"):
                        waiting = True
                        continue
                    self._tell(job)
                self._told.add(cid)
            if not waiting:
                self._known = self._counted
        return waiting

    def tell_retrieved(self, jobs: Iterable[Ad]) -> None:
        """Tell spooled jobs whose output is here; one that stays listed for a moment is not told again."""
        with self._lock:
            for job in jobs:
                cid = self.cid(job["ClusterId"], job["ProcId"])
                if cid not in self._told:
                    self._told.add(cid)
                    self._tell(job)

    def tell_removed(self, jobs: Iterable[Ad], fault: str) -> None:
        """Tell jobs that we removed, and why."""
        with self._lock:
            for job in jobs:
                self._tell(job, fault)

    def tell_records(self, records: Iterable[Ad]) -> None:
        """Tell jobs of the history that are not told yet, the removed ones with a fault."""
        with self._lock:
            for job in records:
                told = self._by_submission.get(str(job.get("APF_SUBMISSION", "")), set())
                if self.cid(job["ClusterId"], job["ProcId"]) not in told:
                    self._tell(job, "removed" if job.get("JobStatus") == REMOVED else "")

    def told(self, submission: str) -> int:
        """Return how many pilots of a submission were told."""
        with self._lock:
            return len(self._by_submission.get(submission, ()))

    def take(self) -> tuple[EndedPilot, ...]:
        """Return what was told since the last time."""
        with self._lock:
            news, self._news = self._news, []
        return tuple(news)

    def at_ces(self) -> Mapping[str, float]:
        """Return when each CE last told of a pilot that ended by itself, also of one whose output is not here yet."""
        with self._lock:
            return dict(self._at_ces)

    def _note_ce(self, job: Ad) -> None:
        # The time of CompletionDate may be the CE's own.
        at = _number(job, "EnteredCurrentStatus")
        if job.get("JobUniverse") == GRID and at:
            endpoint = str(job.get("APF_ENDPOINT", ""))
            self._at_ces[endpoint] = max(at, self._at_ces.get(endpoint, at))

    def _tell(self, job: Ad, fault: str = "") -> None:
        if not fault:
            self._note_ce(job)
        pilot = self._pilot(job, fault)
        self._news.append(pilot)
        self._by_submission.setdefault(pilot.submission, set()).add(pilot.cid)
        self._by_submission.move_to_end(pilot.submission)
        while len(self._by_submission) > _REMEMBERED:
            self._by_submission.popitem(last=False)

    def _pilot(self, job: Ad, fault: str = "") -> EndedPilot:
        code = -int(job.get("ExitSignal", 0)) if job.get("ExitBySignal") else job.get("ExitCode")
        return EndedPilot(
            cid=self.cid(job["ClusterId"], job["ProcId"]),
            queue=str(job.get("APF_QUEUE", "")),
            submission=str(job.get("APF_SUBMISSION", "")),
            exit_code=None if code is None or fault else int(code),
            fault=fault,
            endpoint=str(job.get("APF_ENDPOINT", "")),
            node=str(job.get("LastRemoteHost", "")).rpartition("@")[2],
            lived=_lived(job, by_itself=not fault),
            at=_number(job, "CompletionDate") or _number(job, "EnteredCurrentStatus") or 0.0,
        )


def _lived(job: Ad, *, by_itself: bool) -> float | None:
    """Return the seconds a job ran; at most those since its submission where its schedd missed its start at a CE."""
    began, ended = _number(job, "QDate"), _number(job, "CompletionDate")
    if _number(job, "JobStartDate"):
        return _number(job, "RemoteWallClockTime")
    return max(0.0, ended - began) if by_itself and began and ended else None


def _number(job: Ad, key: str) -> float | None:
    value = job.get(key)
    return float(value) if isinstance(value, int | float) else None
