"""Print figures as a small table."""

from collections.abc import Sequence


def show(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table with its title; the first column is flush left, the others right."""
    widths = [max(len(row[k]) for row in (head, *rows)) for k in range(len(head))]
    print(f"\n{title}")
    for row in (head, *rows):
        cells = [
            word.ljust(width) if k == 0 else word.rjust(width)
            for k, (word, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  " + "   ".join(cells).rstrip())


def times(value: float) -> str:
    """Write a ratio with three digits at most."""
    return f"x{value:.0f}" if value >= 100 else f"x{value:.1f}" if value >= 10 else f"x{value:.2f}"
