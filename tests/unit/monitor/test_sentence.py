"""The status text of a label, read back as the monitor's pages read it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.model import PilotCounts, Submitted
from autopyfactory.monitor.sentence import LONGEST, status_text
from autopyfactory.report import Blocked, CycleReport, Decision, Step


def page(text: str) -> str:
    """Say what a page of the monitor makes of a status text: its two shapes, and its one crash."""
    submitted = re.match(r"ready=(\d+),.*ret=(\d+)$", text)
    limited = re.match(r".*;MaxPending:in=(\d+),pend=(\d+),max=(\d+),ret=(\d+)$", text)
    assert not limited
    ready, count = (int(figure) for figure in submitted.groups()) if submitted else (0, 0)
    if count:
        return f"{count} submitted"
    return "check raw messages" if ready else "no work available"


def decided(*steps: Step) -> Decision:
    return Decision(steps[-1].after if steps else 0, steps)


READY = Step("ready", 0, 20, "40 activated - 20 pending")
NOTHING = Step("ready", 0, 0, "20 activated - 20 pending")
CUT = Step("max_per_cycle", 20, 12, "12 at most")
STOPPED = Step("max_pending", 20, 0, "20 pending of 20")
PILOTS = PilotCounts(pending=20, running=310)


def submitted(count: int) -> tuple[Submitted, ...]:
    return (Submitted("s1", tuple(f"1.{proc}" for proc in range(count))),)


@pytest.mark.parametrize(
    ("report", "says", "holds"),
    [
        (
            CycleReport("Q", 0, decided(READY, CUT), None, PILOTS, 40, submitted(12)),
            "12 submitted",
            "ready=40,activated=40,pending=20,running=310,ready 20 > max_per_cycle 12,ret=12",
        ),
        (CycleReport("Q", 0, decided(NOTHING), None, PILOTS, 0), "no work available", "ready=0,activated=0,"),
        (CycleReport("Q", 0, decided(NOTHING), None, PILOTS, 20), "check raw messages", "20 activated - 20 pending"),
        (CycleReport("Q", 0, decided(READY, STOPPED), None, PILOTS), "check raw messages", "20 pending of 20"),
        (CycleReport("Q", 0, decided(READY), None, PILOTS, None, submitted(20)), "20 submitted", "activated=unknown"),
        (
            CycleReport("Q", 0, None, Blocked("panda: no answer; last 400 s ago")),
            "check raw messages",
            "blocked=panda: no answer, last 400 s ago",
        ),
        (CycleReport("Q", 0, None, Blocked("paused"), PILOTS, 0), "check raw messages", "activated=0"),
        (
            CycleReport("Q", 0, decided(READY), None, PILOTS, 40, error="no answer: timed out"),
            "check raw messages",
            "error=no answer: timed out",
        ),
        (
            CycleReport("Q", 0, decided(READY), None, PILOTS, 40, dry_run=True),
            "check raw messages",
            "dry run of 20",
        ),
        (CycleReport("Q", 0, decided(), None, PILOTS, 0), "no work available", "no rule asked for pilots"),
    ],
)
def test_page_says_what_happened(report: CycleReport, says: str, holds: str) -> None:
    text = status_text(report)
    assert page(text) == says
    assert holds in text


def test_a_long_reason_is_cut_before_the_number() -> None:
    text = status_text(CycleReport("Q", 0, None, Blocked("panda: " + "x" * 400)))
    assert len(text) == LONGEST
    assert text.endswith("xxx...,ret=0")


TEXTS = st.text(max_size=400)
STEPS = st.builds(Step, TEXTS, st.integers(-5, 10**6), st.integers(-5, 10**6), TEXTS)
REPORTS = st.builds(
    CycleReport,
    queue=TEXTS,
    at=st.just(0.0),
    decision=st.none() | st.builds(Decision, st.integers(-5, 10**6), st.lists(STEPS, max_size=5).map(tuple)),
    blocked=st.none() | st.builds(Blocked, TEXTS),
    pilots=st.none() | st.builds(PilotCounts, st.integers(0, 10**6), st.integers(0, 10**6)),
    activated=st.none() | st.integers(0, 10**9),
    submitted=st.integers(0, 50).map(submitted),
    error=TEXTS,
    dry_run=st.booleans(),
)


@given(REPORTS)
def test_any_report_keeps_the_shape(report: CycleReport) -> None:
    text = status_text(report)
    assert re.fullmatch(r"ready=\d+,activated=(\d+|unknown),.*,ret=\d+", text)
    assert len(text) <= LONGEST
    assert ";" not in text
    assert text.isascii()
    assert text.isprintable()
    count = report.submitted_count
    assert page(text) == f"{count} submitted" if count else page(text) in {"no work available", "check raw messages"}
    if report.blocked is not None and not count:
        assert page(text) == "check raw messages"
