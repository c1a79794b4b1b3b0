"""What a report adds up."""

from autopyfactory.model import Submitted
from autopyfactory.report import CycleReport


def test_submitted_count_is_what_was_accepted() -> None:
    assert CycleReport("Q", 0.0).submitted_count == 0
    assert (
        CycleReport("Q", 0.0, submitted=(Submitted("a", ("1.0", "1.1")), Submitted("b", ("2.0",)))).submitted_count == 3
    )
