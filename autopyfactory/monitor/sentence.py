"""What one cycle did, as the status text from which apfmon's pages make a sentence.

The page reads `ready=N,...,ret=M` from the first to the last character: M > 0 as "M pilots submitted",
M = 0 as "no work available" when N is 0 and "check raw messages" otherwise. Everything between is free,
but for `;`, at which some servers cut a form and others look for an old shape that breaks their page.
"""

import re

from autopyfactory.explain import reasons
from autopyfactory.report import CycleReport

LONGEST = 255


def status_text(report: CycleReport) -> str:
    """Return the status of a label, at most 255 characters of printable ASCII without `;`.

    `ready` is what the page judges by: at least 1 when nothing was submitted for another reason than a
    lack of work, since 0 would make it say that there is none. `activated` is the figure itself.
    """
    count = report.submitted_count
    head = [f"ready={_ready(report)}", f"activated={'unknown' if report.activated is None else report.activated}"]
    if report.pilots is not None:
        head += [f"pending={report.pilots.waiting}", f"running={report.pilots.running}"]
    tail = f",ret={count}"
    text = ",".join([*head, _plain(_reason(report))])
    room = LONGEST - len(tail)
    if len(text) > room:
        text = text[: room - 3] + "..."
    return text + tail


def _ready(report: CycleReport) -> int:
    asked = max((max(step.before, step.after) for step in report.decision.steps), default=0) if report.decision else 0
    ready = max(report.activated or 0, asked, 0)
    hindered = report.blocked is not None or report.error or report.dry_run
    return max(1, ready) if hindered else ready


def _reason(report: CycleReport) -> str:
    if report.blocked is not None:
        return f"blocked={report.blocked.reason}"
    words = []
    if report.error:
        words.append(f"error={report.error}")
    if report.dry_run and report.decision is not None:
        words.append(f"dry run of {report.decision.count}")
    if report.decision is not None:
        words.append(reasons(report.decision.steps))
    return ",".join(words)


def _plain(text: str) -> str:
    text = re.sub(r"\s+", " ", text).strip().replace(";", ",")
    return re.sub(r"[^ -~]", "?", text)
