"""The line of a cycle: what was done and why."""

import pytest

from autopyfactory.explain import details, figures, likeness, reasons, sentence
from autopyfactory.model import PilotCounts, Submitted
from autopyfactory.report import Blocked, CycleReport, Decision, Input, Step, Stuck

PILOTS = PilotCounts(pending=20, running=310)
STEPS = (
    Step("ready", 0, 20, "40 activated, 20 waiting"),
    Step("max_per_cycle", 20, 12, "at most 12 per cycle"),
    Step("max_pilots", 12, 12, "330 of at most 1000 in flight"),
)
TWELVE = Submitted("s", tuple(f"1.{k}" for k in range(12)))
FIGURES = "activated=40 pending=20 running=310 held=0 in_flight=330"


def report(**values: object) -> CycleReport:
    return CycleReport("Q", 0.0, **{"pilots": PILOTS, "activated": 40, **values})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            report(decision=Decision(12, STEPS), submitted=(TWELVE,)),
            f"submitted 12: {FIGURES} | ready 20 > max_per_cycle 12",
        ),
        (
            report(decision=Decision(12, STEPS), dry_run=True),
            f"would submit 12: {FIGURES} | ready 20 > max_per_cycle 12",
        ),
        (
            report(decision=Decision(12, STEPS), error="refused: no room"),
            f"submitted 0: {FIGURES} | ready 20 > max_per_cycle 12 | refused: no room",
        ),
        (
            report(blocked=Blocked("pilots unknown: schedd x: no answer", True), pilots=None, activated=None),
            "blocked: activated=? pending=? running=? held=? in_flight=? | pilots unknown: schedd x: no answer",
        ),
        (report(), f"submitted 0: {FIGURES} | no rule asked for pilots"),
    ],
)
def test_sentence(given: CycleReport, line: str) -> None:
    assert sentence(given) == line


def test_rare_states_are_told_only_when_they_are_there() -> None:
    pilots = PilotCounts(unsent=1, pending=2, held=3, suspended=4, finishing=5, unknown=6, ambiguous=7, unseen=8)
    assert figures(report(pilots=pilots)) == (
        "activated=40 pending=18 running=0 held=3 in_flight=31"
        " unsent=1 suspended=4 finishing=5 unknown=6 ambiguous=7 unseen=8"
    )


def test_why_pilots_are_held_is_told_last() -> None:
    held = "12 held: 9 x 'no space'"
    assert sentence(report(blocked=Blocked("no"), note=held)).endswith(f" | no | {held}")
    assert sentence(report(decision=Decision(0), error="refused: x", note=held)).endswith(f" | refused: x | {held}")


def test_what_the_ce_calls_the_pending_ones_is_told_with_the_counts() -> None:
    given = report(inputs=(Input("pilots", "schedd ap1", 12.0),), words={"INLRMS:Q": 17, "ACCEPTING": 3})
    counts = "pending=20 running=310 held=0 in_flight=330"
    assert list(details(given)) == [
        f"  pilots  {counts}, at the CE 17 INLRMS:Q, 3 ACCEPTING (12 s old, from schedd ap1)"
    ]
    assert "INLRMS" not in sentence(given)


def test_pilots_that_wait_where_there_is_trouble_stand_in_the_line_and_in_the_details() -> None:
    stuck = (Stuck(20, "ce1", "unreachable", 60.0), Stuck(1, "", "paused", 0.0))
    said = "1 held; 20 wait at ce1, unreachable since 00:01:00; 1 waits at its source, paused since 00:00:00"
    given = report(decision=Decision(0), note="1 held", stuck=stuck)
    assert sentence(given).endswith(f" | {said}")
    assert said in "\n".join(details(given))


def test_the_step_that_made_it_zero_says_why() -> None:
    gate = (Step("ready", 0, 20, "x"), Step("status_offline", 20, 0, "the site is offline"))
    later = (*gate, Step("max_pilots", 0, 0, "7 of at most 9 in flight"))
    assert reasons(later) == "ready 20 > status_offline 0 (the site is offline)"
    assert reasons((Step("ready", 0, 0, "nothing activated"),)) == "ready 0 (nothing activated)"


def test_resource_types_that_count_alone_are_told_first() -> None:
    steps = (
        Step("ready", 0, 20, "x", resource_type="SCORE"),
        Step("scale", 20, 10, "x", resource_type="SCORE"),
        Step("ready", 0, 0, "none activated", resource_type="MCORE"),
        Step("max_pilots", 10, 10, "few in flight"),
    )
    assert reasons(steps) == "SCORE ready 20 > scale 10, MCORE ready 0 (none activated)"
    limited = (*steps, Step("max_per_cycle", 10, 8, "at most 8"))
    assert reasons(limited).endswith("MCORE ready 0 (none activated) > max_per_cycle 8")
    decision = Decision(8, limited, {"SCORE": 8, "MCORE": 0})
    assert sentence(report(decision=decision, dry_run=True)).startswith("would submit 8 (8 SCORE, 0 MCORE): ")
    assert sentence(report(decision=Decision(0, steps, {"SCORE": 0, "MCORE": 0}))).startswith("submitted 0: ")


def test_likeness_leaves_the_figures_out() -> None:
    def zero(waiting: int) -> CycleReport:
        step = Step("ready", 0, 0, f"0 activated, {waiting} waiting")
        return report(decision=Decision(0, (step,)), pilots=PilotCounts(pending=waiting))

    assert likeness(zero(3)) == likeness(zero(12))
    assert likeness(zero(3)) != likeness(report(decision=Decision(0, ())))
