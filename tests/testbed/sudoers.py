"""The lines of sudoers that docs/batch.md gives, and sudo with them for the time of a test."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PAGE = Path(__file__).parents[2] / "docs" / "batch.md"


def of_page(kind: str, *, factory: str = "apf", pilot: str = "pilot") -> str:
    """Return the page's lines for a type of batch system, with these accounts for its `apf` and `pilot`."""
    found = re.search(rf"^```\n# /etc/sudoers\.d/autopyfactory, for type = {kind}\n(.*?)^```$", _page(), re.M | re.S)
    assert found, f"docs/batch.md has no lines for {kind}"
    return re.sub(r"\bapf\b", factory, found[1]).replace("(pilot)", f"({pilot})")


@contextmanager
def allowed(lines: str, name: str) -> Iterator[None]:
    """Let sudo read these lines; it reads whole files only, and none with a dot in its name."""
    file = Path("/etc/sudoers.d") / f"autopyfactory-{name}"
    fresh = file.with_suffix(".new")
    fresh.touch(mode=0o440)
    try:
        fresh.write_text(lines)
        subprocess.run(["visudo", "-cqf", str(fresh)], check=True, timeout=30)
        fresh.rename(file)
        yield
    finally:
        fresh.unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def _page() -> str:
    return _PAGE.read_text(encoding="utf-8")
