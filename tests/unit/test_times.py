from datetime import UTC, datetime

import pytest

from autopyfactory.times import moment, spoken

NOW = datetime(2026, 11, 22, 10, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("now", "2026-11-22 10:40:00"),
        ("10:30", "2026-11-22 10:30:00"),
        ("10:30:15", "2026-11-22 10:30:15"),
        ("11:30", "2026-11-21 11:30:00"),
        ("today 11:30", "2026-11-22 11:30:00"),
        ("yesterday  10:30", "2026-11-21 10:30:00"),
        ("2h ago", "2026-11-22 08:40:00"),
        ("2026-11-20", "2026-11-20 00:00:00"),
        ("2026-11-20 10:30", "2026-11-20 10:30:00"),
        ("2026-11-20T10:30Z", "2026-11-20 10:30:00"),
        ("2026-11-20T10:30+02:00", "2026-11-20 08:30:00"),
    ],
)
def test_times_are_understood(text: str, found: str) -> None:
    assert f"{datetime.fromtimestamp(moment(text, NOW), UTC):%Y-%m-%d %H:%M:%S}" == found


@pytest.mark.parametrize("text", ["", "noon", "25:00", "2 ago", "two hours ago", "tomorrow 10:30"])
def test_others_are_not(text: str) -> None:
    with pytest.raises(ValueError, match=r"write for example|is no "):
        moment(text, NOW)


def test_times_are_spoken_briefly() -> None:
    assert spoken(NOW, NOW) == "10:40"
    assert spoken(NOW - 86400, NOW) == "2026-11-21 10:40"
