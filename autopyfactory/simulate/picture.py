"""A replay as a picture: demand, pending and running pilots of one queue over time, as SVG."""

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from autopyfactory.simulate.replay import Course

WIDTH, HEIGHT = 900, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 20, 50, 40
_LINES = (
    ("demand", "activated jobs", "#8a8a8a"),
    ("pending", "pending pilots", "#e08a00"),
    ("running", "running pilots", "#1f77b4"),
)


def svg(queue: str, courses: Mapping[str, Course]) -> str:
    """Return the picture of one queue; further courses, by their name, are drawn in dashes over the first."""
    top = _ceiling(max((value for course in courses.values() for value in _values(course)), default=0))
    end = max((course.times[-1] for course in courses.values() if course.times), default=1.0) or 1.0
    parts = [*_frame(queue, top, end), *_legend(list(courses))]
    for number, course in enumerate(courses.values()):
        dash = ' stroke-dasharray="5 3"' if number else ""
        for field, _, colour in _LINES:
            path = _path(course.times, getattr(course, field), top, end)
            parts.append(f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.5"{dash}/>')
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'font-family="sans-serif" font-size="12">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>\n{body}\n</svg>\n'
    )


def _values(course: Course) -> Iterator[int]:
    yield from course.demand
    yield from course.pending
    yield from course.running


def _ceiling(most: int) -> int:
    """Return a round number that is not below."""
    step = int(10 ** max(0, len(str(most)) - 1))
    return max(5, -(-most // step) * step)


def _x(at: float, end: float) -> float:
    return _LEFT + at / end * (WIDTH - _LEFT - _RIGHT)


def _y(value: float, top: int) -> float:
    return HEIGHT - _BOTTOM - value / top * (HEIGHT - _TOP - _BOTTOM)


def _path(times: Sequence[float], values: Sequence[int], top: int, end: float) -> str:
    points = [f"{_x(at, end):.1f} {_y(value, top):.1f}" for at, value in zip(times, values, strict=True)]
    return "M" + " L".join(points) if points else ""


def _frame(queue: str, top: int, end: float) -> Iterator[str]:
    yield f'<text x="{_LEFT}" y="20" font-size="15" font-weight="bold">{escape(queue)}</text>'
    for part in range(5):
        value = top * part / 4
        y = _y(value, top)
        yield f'<line x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#dddddd"/>'
        yield f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>'
    unit, word = (86400.0, "days") if end > 2 * 86400 else (3600.0, "hours")
    count = end / unit
    step = max(1, round(count / 8))
    for tick in range(0, int(count) + 1, step):
        yield f'<text x="{_x(tick * unit, end):.1f}" y="{HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick}</text>'
    yield f'<text x="{WIDTH - _RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{word}</text>'


def _legend(names: Sequence[str]) -> Iterator[str]:
    x = WIDTH - _RIGHT - 420
    for k, (_, title, colour) in enumerate(_LINES):
        yield f'<rect x="{x + 140 * k}" y="12" width="12" height="4" fill="{colour}"/>'
        yield f'<text x="{x + 140 * k + 18}" y="18">{title}</text>'
    if len(names) > 1:
        text = f"full lines: {names[0]}, dashed: {', '.join(names[1:])}"
        yield f'<text x="{WIDTH - _RIGHT}" y="38" text-anchor="end">{escape(text)}</text>'
