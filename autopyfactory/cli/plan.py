"""`autopyfactory plan`: what a queue would do now, and how that number comes about."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import click

from autopyfactory.cli.options import conf_option, known_queue
from autopyfactory.clock import Clock
from autopyfactory.config.checks import pledges
from autopyfactory.config.fields import words
from autopyfactory.config.loader import load
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.config.problems import suggest
from autopyfactory.explain import details, spoken_why
from autopyfactory.factory import Factory
from autopyfactory.model import PilotState
from autopyfactory.operate import Operator
from autopyfactory.plan import Given, supposed
from autopyfactory.report import Blocked, CycleReport

JOBS = words(
    "pending, defined, waiting, assigned, throttled, activated, sent, starting, running, holding, transferring,"
    "merging, finished, failed, cancelled, closed"
)
"""The words of PanDA for a job's status."""


class Counts(click.ParamType[dict[str, int]]):
    """`word=number,...`, each word one of a table; what is not named is 0."""

    name = "WORD=N,..."

    def __init__(self, known: Collection[str]) -> None:
        self._known = known

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, int]:
        """Read the text."""
        found: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in str(value).split(","))):
            word, equals, number = (piece.strip() for piece in part.partition("="))
            if not equals and word not in self._known:
                example = "activated=12" if "activated" in self._known else "pending=12"
                self.fail(f"'{part}' is no word=number, write for example {example}", param, ctx)
            if word not in self._known:
                hint = suggest(word, self._known) or f"; known: {', '.join(self._known)}"
                self.fail(f"there is no '{word}'{hint}", param, ctx)
            if not (number.isascii() and number.isdigit()):
                self.fail(f"'{part}' is no count, write {word}=12", param, ctx)
            if word in found:
                self.fail(f"'{word}' stands there twice", param, ctx)
            found[word] = int(number)
        return found


@click.command(short_help="Print what queues would submit now, and why; nothing is submitted.")
@conf_option
@click.option("--jobs", type=Counts(JOBS), help="Suppose these jobs, e.g. activated=120,running=3.")
@click.option(
    "--pilots",
    type=Counts([str(state) for state in PilotState]),
    help="Suppose these pilots, e.g. pending=10,running=50,held=0.",
)
@click.option("--site-status", metavar="WORD", help="Suppose this site status; else online.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON list.")
@click.argument("queues", nargs=-1, metavar="[QUEUE]...")
def plan(
    conf: Path,
    jobs: dict[str, int] | None,
    pilots: dict[str, int] | None,
    site_status: str | None,
    as_json: bool,
    queues: tuple[str, ...],
) -> None:
    """Do one cycle of these QUEUEs, or of all, by the daemon's own code; nothing is submitted, nothing written.

    It may run beside the daemon, with the same account. With --jobs, --pilots or --site-status nothing is polled: what
    is not named is 0, the site is online, all is fresh and without history, siblings or other queues.
    """
    config = load(conf)
    asked = [known_queue(config, name) for name in dict.fromkeys(queues)] or list(config.queues.values())
    if config.out and not queues:
        click.echo(f"left out: {', '.join(sorted(config.out))}; 'autopyfactory check' says why", err=True)
    if jobs is None and pilots is None and site_status is None:
        reports = observed(config, asked)
    else:
        states = {PilotState(state): count for state, count in (pilots or {}).items()}
        given = Given(jobs or {}, states, (site_status or "online").strip().lower())
        reports = [supposed(queue, given, Clock(), config.factory.max_per_factory) for queue in asked]
    if as_json:
        click.echo(json.dumps([summary(report) for report in reports], indent=1))
        return
    blocks = []
    for queue, report in zip(asked, reports, strict=True):
        notes = [f"  note: {fault.option}: {fault.text}" for fault in pledges(queue.options)]
        blocks.append("\n".join((*lines(report), *notes)))
    click.echo("\n\n".join(blocks))


def observed(config: Config, asked: list[QueueConfig]) -> list[CycleReport]:
    """Poll, and return what each queue would do; one that is disabled is not served."""
    clock = Clock()
    factory = Factory(config, clock=clock, operator=Operator(config.factory.state_dir), dry_run=True, looking=True)
    try:
        done = {one.queue: one for one in factory.look(q.name for q in asked if q.name in config.queues)}
    finally:
        factory.stop()
    return [done.get(queue.name) or disabled(queue, clock) for queue in asked]


def disabled(queue: QueueConfig, clock: Clock) -> CycleReport:
    """Return the report of a queue that is not served."""
    return CycleReport(queue.name, clock.now(), blocked=Blocked("the queue is disabled (enabled = no)", wanted=True))


def summary(report: CycleReport) -> dict[str, Any]:
    """Return a report as the JSON shows it."""
    steps = report.decision.steps if report.decision else ()
    return {
        "queue": report.queue,
        "count": report.decision.count if report.decision else 0,
        "blocked": report.blocked.reason if report.blocked else None,
        "steps": [{"rule": s.rule, "before": s.before, "after": s.after, "why": spoken_why(s)} for s in steps],
    }


def lines(report: CycleReport) -> Iterator[str]:
    """Return a report as text: the outcome, the inputs with their age and origin, each rule's step."""
    if report.blocked:
        yield f"{report.queue} is blocked: {report.blocked.reason}"
    elif report.decision:
        yield f"{report.queue} would submit {report.decision.count}"
    yield from details(report)
