"""Planted situations: the first line of `why` names the true cause.

The cycles are the real ones, over a virtual pool and WMS or over a factory with parts of the test; what they report
goes through the real record.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from autopyfactory import plugins
from autopyfactory.config.fields import words
from autopyfactory.config.models import Config, FactoryOptions, QueueConfig, Section
from autopyfactory.config.problems import Problem
from autopyfactory.credentials.wallet import Wallet
from autopyfactory.diagnosis.cause import cause_of
from autopyfactory.diagnosis.story import Scene, find, headline, tell
from autopyfactory.factory import Factory
from autopyfactory.model import Downtime, PilotCounts, Trouble
from autopyfactory.operate import Operator, OperatorState
from autopyfactory.record.book import Record, Writer
from autopyfactory.record.paper import Recorded, ages, paper
from autopyfactory.report import CycleReport, Decision, Step, Stuck, Wanted
from autopyfactory.space import FreeSpace
from tests.unit import parts
from tests.unit.parts import FAKES, Journal, PartOptions
from tests.unit.world import MAX_AGE, POLL, START, WMS_MAX_AGE, ManualClock, World, make_queue


class Place:
    """A factory whose cycles are recorded, and a way to ask why."""

    def __init__(self, folder: Path, queues: Iterable[QueueConfig], **words: Any) -> None:
        self.folder = folder
        self.queues = {queue.name: queue for queue in queues}
        self.world = World(folder, list(self.queues.values()), **words)
        self.clock = self.world.clock
        self.writer = Writer(folder / "decisions.sqlite")
        self.running: bool | None = True
        self.out: tuple[Problem, ...] = ()
        self.disabled: dict[str, QueueConfig | None] = {}
        self.operator: OperatorState | None = None

    def write(self, reports: Iterable[CycleReport]) -> None:
        self.writer.write([(one.queue, one.at, one.interval, ages(one), paper(one)) for one in reports])

    def cycle(self, *names: str, times: int = 1, every: float = 60.0) -> None:
        """Let queues have cycles, one after the other, and time pass after each round."""
        for _ in range(times):
            self.write(self.world.cycle(*names).values())
            self.world.advance(every)

    def scene(self, record: Record | str) -> Scene:
        factory = FactoryOptions(id="F", state_dir=self.folder, pilot_log_dir=self.folder)
        out = frozenset(problem.queue for problem in self.out)
        config = Config(
            Path("/etc/apf/autopyfactory.conf"), factory, {}, {}, {}, {}, self.queues, out, self.out, self.disabled
        )
        return Scene(self.clock.at, config, record, self.running, self.operator)

    def why(self, name: str = "Q", at: float | None = None) -> list[str]:
        with Record(self.folder / "decisions.sqlite") as record:
            scene = self.scene(record)
            return list(tell(scene, name, at, find(scene, name, at)))

    def first(self, name: str = "Q", at: float | None = None) -> str:
        return self.why(name, at)[0]


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., Place]:
    """Make a place: one queue Q with these rules, and further queues; 40 jobs wait at Q."""

    def make(
        rules: dict[str, Any] | None = None,
        others: Iterable[QueueConfig] = (),
        world: Any = None,
        rules_named: str = "",
        **options: Any,
    ) -> Place:
        queue = make_queue("Q", rules=rules, **options)
        if rules_named:
            queue = replace(queue, options=queue.options.model_copy(update={"rules": tuple(words(rules_named))}))
        made = Place(tmp_path, [queue, *others], **(world or {}))
        made.world.activate("Q", 40)
        return made

    return make


def test_the_site_is_offline(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.status = "offline"
    here.cycle(times=3)
    assert here.why()[:4] == [
        "Q submits nothing: the site is offline in the WMS",
        "  so since 22:13; last cycle 22:15, one every 1 min",
        "  last pilots: none on record",
        "  what would have to change: the site has to become online in the WMS, or status_offline has to be raised",
    ]


def test_a_status_that_nobody_knows(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.status = "odd"
    here.cycle()
    assert here.first().startswith("Q submits nothing: site status 'odd' is none of ")


def test_jobs_of_a_site_in_test_have_other_labels(place: Callable[..., Place]) -> None:
    here = place(labels="managed", rules={"status_test": 1})
    here.world.wms.status, here.world.wms.kind = "test", ("SCORE", "prod_test")
    here.cycle()
    assert here.first() == (
        "Q submits slowly: the site is test, and the jobs that wait at Q are not of its labels:"
        " 40 SCORE/prod_test activated"
    )
    assert "labels = managed" in "".join(here.why())


def test_jobs_of_another_resource_type(place: Callable[..., Place]) -> None:
    here = place(resource_types="MCORE")
    here.world.wms.kind = ("SCORE", "managed")
    here.cycle()
    assert "not of its resource types: 40 SCORE/managed activated" in here.first()
    assert here.first().startswith("Q submits nothing")


def test_jobs_of_another_share(place: Callable[..., Place]) -> None:
    here = place(global_shares="Express")
    here.world.wms.share = "Test"
    here.cycle()
    said = "the jobs that wait at Q are not of its global shares: 40 Test activated"
    assert here.first() == f"Q submits nothing: {said}"
    assert "the queue counts global_shares = Express: correct global_shares if" in "".join(here.why())


def test_one_of_several_wmsqueues_is_offline(place: Callable[..., Place]) -> None:
    here = place(wmsqueue="A, B", labels="managed")
    here.world.wms.kind, here.world.wms.statuses = ("SCORE", "managed"), {"A": "offline", "B": "online"}
    here.world.activate("A", 40)
    here.world.activate("B", 0)
    here.cycle()
    assert here.first() == "Q submits nothing: A is offline in the WMS: 40 SCORE/managed activated there"
    assert "A has to become online" in here.why()[3]
    here.world.wms.kind = ("SCORE", "user")
    here.world.activate("B", 3)
    here.cycle()
    assert here.first() == (
        "Q submits nothing: the jobs that wait at A, B are not of its labels: 3 SCORE/user activated;"
        " A is offline in the WMS: 40 SCORE/user activated there"
    )


def test_a_site_in_test_gets_few(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.status = "test"
    here.cycle()
    assert here.first().startswith("Q submits slowly: the site is test")
    assert here.first().endswith("in the WMS, 1 instead of 40")


def test_a_typo_in_wmsqueue(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.typo = True
    here.cycle()
    assert here.first() == "Q submits nothing: demand unknown: wms panda does not know the wmsqueue 'Q'"
    assert "correct the option wmsqueue" in "".join(here.why())


def test_a_squid_serves_old_counts(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.frozen = True
    here.world.advance(WMS_MAX_AGE + 10)
    here.cycle()
    assert here.first() == "Q submits nothing: demand unknown: wms panda: the figures are too old"


def test_panda_is_down(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.down = True
    here.cycle()
    assert here.first() == "Q submits nothing: demand unknown: wms panda: 503"


def test_the_batch_system_is_down(place: Callable[..., Place]) -> None:
    here = place()
    here.cycle()
    here.world.pool.down = True
    here.world.advance(MAX_AGE + 10)
    here.cycle()
    assert here.first().startswith("Q submits nothing: pilots unknown: pool: no answer")
    assert "last pilots: 40 at 22:13" in here.why()[2]


def test_the_batch_system_refuses(place: Callable[..., Place]) -> None:
    here = place()
    here.world.pool.answer = "refused"
    here.cycle()
    assert here.first() == "Q submits nothing: the batch system took no pilots, refused: the pool says no"


@pytest.mark.parametrize(
    ("error", "submitted", "line"),
    [
        ("refused: quota", 5, "Q submits slowly: the batch system took 5 of 12 pilots, refused: quota"),
        ("no answer: x", 0, "Q submits nothing: the batch system did not say whether it took 12 pilots, no answer: x"),
    ],
)
def test_a_submission_that_half_failed(error: str, submitted: int, line: str) -> None:
    report = CycleReport("Q", 0.0, decision=Decision(12), error=error)
    assert headline("Q", cause_of(Recorded(report, 0.0, submitted))) == line


def test_what_could_not_be_retired_is_no_reason_for_no_pilots() -> None:
    report = CycleReport("Q", 0.0, decision=Decision(0), activated=0, wanted=Wanted(0), error="cannot retire pilots: x")
    assert headline("Q", cause_of(Recorded(report, 0.0))).startswith("Q submits nothing: no job waits")


def test_the_batch_system_hides_what_it_took(place: Callable[..., Place]) -> None:
    here = place()
    here.cycle()
    here.world.pool.hidden = True
    here.cycle()
    assert "pool accepted 40 pilots at 22:13:20 and shows neither them nor their end" in here.first()


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ({"max_pilots": 5}, "the cap max_pilots is reached: 5 of at most 5 in flight"),
        ({"max_pending": 5}, "the cap max_pending is reached: 5 of at most 5 waiting"),
        ({"max_per_cycle": 0}, "max_per_cycle allows none: at most 0 per cycle"),
    ],
)
def test_a_cap_is_reached(place: Callable[..., Place], rules: dict[str, int], said: str) -> None:
    here = place(rules)
    here.world.pool.start_after = None
    here.cycle(times=2)
    assert here.first() == f"Q submits nothing: {said}"


def test_pilots_are_held(place: Callable[..., Place]) -> None:
    here = place({"max_held": 3})
    here.world.pool.hold = True
    here.cycle(times=2)
    assert here.first().startswith("Q submits nothing: too many pilots are held: 40 pilots are held, more than 3")
    assert "x 'no space'" not in here.first()
    here.world.source.tender.held = {"Q": "40 held: 40 x 'no space'"}
    here.world.advance(POLL)
    here.cycle()
    assert here.first().endswith("release or remove them; 40 held: 40 x 'no space'")
    assert here.why()[1].startswith("  so since 22:14;"), "the same cause"


@pytest.mark.parametrize("word", ["unreachable", "silent"])
def test_a_ce_is_dead_or_silent(place: Callable[..., Place], word: str) -> None:
    here = place(endpoint="ce1")
    here.world.pool.troubles["ce1"] = Trouble(word, START)
    here.world.pool.start_after = None
    here.cycle()
    assert here.first().startswith(f"Q submits slowly: the endpoint does not work: ce1 is {word} since 22:13:20")
    here.cycle()
    assert here.first().startswith(f"Q submits nothing: the endpoint does not work: ce1 is {word} since 22:13:20")


def test_a_ce_dies_on_which_pilots_for_all_jobs_wait(place: Callable[..., Place]) -> None:
    here = place(endpoint="ce1")
    here.world.pool.start_after = None
    here.cycle()
    here.world.pool.troubles["ce1"] = Trouble("unreachable", START)
    here.cycle(times=2)
    said = "ce1 is unreachable since 22:13:20: one probe every 600 s while none waits; 40 pilots wait to start"
    assert here.first() == f"Q submits nothing: the endpoint does not work: {said}"
    assert "40 wait at ce1, unreachable since 22:13:20" in "".join(here.why())


STUCK = "wait at ce1, unreachable since 22:13:20"


def die(here: Place, first: str = "ce1") -> None:
    """Let the endpoint die that all pilots wait at, and others go on."""
    here.world.pool.start_after = None
    here.cycle()
    assert {pilot.endpoint for pilot in here.world.pool.pilots.values()} == {first}
    here.world.pool.troubles[first] = Trouble("unreachable", START)
    here.cycle(times=2)


@pytest.mark.parametrize(
    ("rules", "jobs", "said"),
    [
        ({"max_pending": 20}, 200, f"20 of its 20 waiting pilots {STUCK}; the cap max_pending is reached: "),
        ({"max_pilots": 20}, 200, f"20 of its 20 waiting pilots {STUCK}; the cap max_pilots is reached: "),
        ({}, 0, f"40 of its 40 waiting pilots {STUCK}; every job has its pilot already: "),
    ],
)
def test_one_of_several_ces_dies_on_which_all_pilots_wait(
    place: Callable[..., Place], rules: dict[str, int], jobs: int, said: str
) -> None:
    """They may still start, so they count; the caps hold, and the other CE gets none in their place."""
    here = place(rules, endpoint="ce1, ce2")
    here.world.activate("Q", jobs)
    die(here)
    assert here.first().startswith(f"Q submits nothing: {said}")
    way_out = "'autopyfactory kill Q --endpoint ce1 --state unsent --state pending' removes those that wait there"
    assert f"ce1 has to work again, or these pilots have to go: {way_out}" in here.why()[3]
    here.cycle(times=60)
    assert here.world.pool.submitted == (20 if jobs else 40)
    for pilot in list(here.world.pool.pilots):
        here.world.pool.remove(pilot)
    here.world.activate("Q", 100)
    here.cycle()
    assert {pilot.endpoint for pilot in here.world.pool.pilots.values()} == {"ce2"}


def test_some_pilots_wait_at_a_dead_ce_and_more_at_one_that_works(place: Callable[..., Place]) -> None:
    here = place({"max_pending": 100, "max_per_cycle": 30}, endpoint="ce1, ce2")
    here.world.activate("Q", 460)
    die(here)
    here.cycle(times=2)
    assert here.first() == (
        f"Q submits nothing: the cap max_pending is reached: 100 of at most 100 waiting; 30 of its 100 waiting pilots"
        f" {STUCK}"
    )
    assert "max_pending has to be raised; ce1 has to work again, or these pilots have to go: " in here.why()[3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("silent", "silent"), "ce1, ce2 is full or hangs: pilots have to start there"),
        (("paused", "silent"), "ce1 has to work again; ce2 is full or hangs: pilots have to start there"),
    ],
)
def test_pilots_at_a_ce_that_may_be_full_are_not_said_to_have_to_go(words: tuple[str, str], said: str) -> None:
    stuck = tuple(Stuck(20, name, word, START) for name, word in zip(("ce1", "ce2"), words, strict=True))
    pilots = PilotCounts(pending=40, running=500)
    report = CycleReport("Q", START, decision=Decision(0), activated=40, wanted=Wanted(40), pilots=pilots, stuck=stuck)
    cause = cause_of(Recorded(report, START))
    assert (cause.key, cause.change) == ("stuck", said)


def test_pilots_at_a_dead_ce_that_the_queue_no_longer_names(place: Callable[..., Place]) -> None:
    here = place({"max_pending": 20}, endpoint="ce1")
    die(here)
    here.queues["Q"] = make_queue("Q", rules={"max_pending": 20}, endpoint="ce2")
    here.world.reload(list(here.queues.values()))
    here.cycle()
    assert here.first().startswith(f"Q submits nothing: 20 of its 20 waiting pilots {STUCK}; the cap max_pending")


def test_rules_that_count_pilots_at_a_dead_ce(place: Callable[..., Place]) -> None:
    here = place({"scale": "0.25"}, endpoint="ce1, ce2", rules_named="ready, scale")
    die(here)
    assert here.first().startswith(f"Q submits nothing: 10 of its 10 waiting pilots {STUCK}; its rules ask for none, ")


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        ({}, "every job has its pilot already: 40 jobs are activated at Q, 40 pilots wait to start"),
        (
            {"ce2": Trouble("unreachable", START)},
            "40 of its 40 waiting pilots wait at ce2, unreachable since 22:13:20; every job has its pilot already: "
            "40 jobs are activated at Q, 40 pilots wait to start",
        ),
    ],
)
def test_the_trial_of_another_ce_is_due_and_nothing_is_asked_for(
    place: Callable[..., Place], trouble: dict[str, Trouble], said: str
) -> None:
    here = place(endpoint="ce1, ce2")
    here.world.pool.start_after, here.world.pool.refusing = None, {"ce1"}
    here.cycle(times=2)
    here.world.pool.troubles |= trouble
    here.cycle(times=12)
    found = []
    for _ in range(3):
        here.cycle()
        found.append((here.first(), here.why()[1].partition(";")[0]))
    assert found == [(f"Q submits nothing: {said}", found[0][1])] * 3
    here.world.activate("Q", 100)
    here.world.pool.refusing.clear()
    here.cycle()
    assert here.first() == "Q submits pilots: 1 in this cycle, endpoint lowered 100 to 1", "others get the rest"


def test_there_is_no_demand(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.activated["Q"] = 0
    here.world.wms.tick()
    here.cycle()
    assert here.first() == "Q submits nothing: no job waits at Q, 0 activated"


def test_all_jobs_are_answered_by_waiting_pilots(place: Callable[..., Place]) -> None:
    here = place()
    here.world.pool.start_after = None
    here.cycle(times=3)
    said = "every job has its pilot already: 40 jobs are activated at Q, 40 pilots wait to start"
    assert here.first() == f"Q submits nothing: {said}"
    assert here.why()[1].startswith("  so since 22:14;")
    assert here.why()[2] == "  last pilots: 40 at 22:13"


@pytest.mark.parametrize(
    ("named", "rules", "jobs", "said"),
    [
        ("ready, scale", {"scale": "0.25"}, 0, "scale: 40 wanted x 1/4, minus 10; 40 jobs are activated at Q"),
        ("ready, probe", {"ready_offset": 50}, 0, "ready: 40 activated, 50 left to others, 1 waiting"),
        ("weighted", {"weighted_pending": 5}, 24, "weighted: 64 activated, 40 waiting, by weight 64 and 200"),
        ("ready, keep_pending", {"keep_pending": 2}, 0, "keep_pending: 40 activated, 4 waiting; 2 at a time "),
        ("ready, keep_running", {"keep_running": 10}, 0, "keep_running: keep 10, 10 are there; 40 jobs are "),
    ],
)
def test_the_rules_ask_for_less_than_there_are_jobs(
    place: Callable[..., Place], named: str, rules: dict[str, Any], jobs: int, said: str
) -> None:
    here = place(rules, rules_named=named)
    here.world.pool.start_after = None
    here.cycle()
    here.world.activate("Q", jobs)
    here.cycle(times=3)
    assert here.first().startswith(f"Q submits nothing: its rules ask for none, {said}")


HELD = Step("max_held", 0, 0, "40 pilots are held, more than 10")


@pytest.mark.parametrize(
    ("waiting", "wanted", "steps", "said"),
    [
        (40, Wanted(40), (), "every job has its pilot already: "),
        (20, Wanted(40, left=20), (), "every job has its pilot already: "),
        (1, Wanted(40, left=39), (), "pilots take the jobs just now: "),
        (1, Wanted(40, surplus=39), (), "its siblings take the work: "),
        (
            1,
            Wanted(40, left=38),
            (Step("ready", 0, 0, "a reason"),),
            "its rules ask for none, ready: a reason; 40 jobs",
        ),
        (39, Wanted(40), (HELD,), "its rules ask for none, "),
        (40, Wanted(40), (HELD,), "too many pilots are held: 40 pilots are held, more than 10; 40 pilots wait to "),
        (0, Wanted(40, left=40), (HELD,), "too many pilots are held: 40 pilots are held, more than 10"),
        (1, Wanted(40, surplus=39), (HELD,), "its siblings take the work: "),
    ],
)
def test_who_answers_the_demand(waiting: int, wanted: Wanted, steps: tuple[Step, ...], said: str) -> None:
    pilots = PilotCounts(pending=waiting)
    report = CycleReport("Q", 0.0, decision=Decision(0, steps), activated=40, wanted=wanted, pilots=pilots)
    assert headline("Q", cause_of(Recorded(report, 0.0))).startswith(f"Q submits nothing: {said}")


def test_its_part_of_the_jobs_is_answered(place: Callable[..., Place]) -> None:
    here = place(share="0.25")
    here.world.pool.start_after = None
    here.cycle(times=2)
    assert here.first() == (
        "Q submits nothing: its part has its pilots already: 40 jobs are activated at Q, 10 pilots are its part of"
        " them, 10 pilots wait to start"
    )


def test_pilots_have_just_taken_the_jobs(place: Callable[..., Place]) -> None:
    here = place(world={"lag": 120.0})
    here.world.pool.start_after = 5.0
    here.world.wms.frozen = True
    here.cycle(times=2)
    assert here.first().startswith("Q submits nothing: pilots take the jobs just now: 40 jobs are activated at Q")


def test_the_factory_is_full_of_another_queue(place: Callable[..., Place]) -> None:
    here = place(others=[make_queue("BIG"), make_queue("SMALL")], world={"maximum": 30})
    here.world.wms.activated["Q"] = 0
    here.world.wms.tick()
    here.cycle()
    here.world.activate("BIG", 500)
    here.world.pool.run_for = 7200.0
    here.cycle(times=2)
    here.world.activate("Q", 40)
    here.cycle()
    assert here.first() == (
        "Q submits nothing: the factory's limit max_per_factory is used up: 0 of 30 left for all queues, 0 for this"
        " one; BIG has 30 in flight"
    )


def test_a_sibling_takes_the_work(place: Callable[..., Place]) -> None:
    here = place(weight=0, others=[make_queue("R", wmsqueue="Q")])
    here.cycle()
    said = "its siblings take the work: 40 jobs are activated at Q, all for R"
    assert here.first() == f"Q submits nothing: {said}"


def test_pilots_of_a_sibling_wait_for_the_work(place: Callable[..., Place]) -> None:
    here = place(others=[make_queue("R", wmsqueue="Q")])
    here.world.pool.start_after = None
    here.world.wms.activated["Q"] = 80
    here.world.wms.tick()
    here.cycle("R")
    here.world.wms.activated["Q"] = 40
    here.world.wms.tick()
    here.world.board.decided("R", 40, 0)
    here.cycle("Q")
    assert here.first().startswith("Q submits nothing: its siblings take the work: 40 jobs are activated at Q")


def test_its_share_is_nothing(place: Callable[..., Place]) -> None:
    here = place(share=0)
    here.cycle()
    assert here.first() == "Q submits nothing: its share leaves it nothing: 40 jobs are activated at Q"


def test_it_comes_back_from_an_outage(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.down = True
    here.cycle()
    here.world.wms.down = False
    here.cycle()
    assert here.first().startswith("Q submits slowly: it comes back slowly: ")
    assert here.first().endswith("at most 1 now, 1 instead of 40")


def test_there_is_no_proxy(place: Callable[..., Place]) -> None:
    here = place(proxy="/nowhere/proxy")
    queue = here.queues["Q"]
    here.world.cycles["Q"]._credentials = partial(Wallet({}, here.clock).choose, queue)
    here.cycle()
    assert here.first().startswith("Q submits nothing: no usable proxy: /nowhere/proxy ")


def test_a_twin_runs_elsewhere(place: Callable[..., Place]) -> None:
    here = place()
    here.cycle()
    other = World(here.folder, list(here.queues.values()), host="there", pool=here.world.pool)
    here.world.advance(60)
    other.activate("Q", 100)
    other.cycle()
    here.world.advance(60)
    here.cycle(times=2)
    assert "from host there that it did not submit" in here.first()


def test_all_is_well(place: Callable[..., Place]) -> None:
    here = place({"max_per_cycle": 12})
    here.cycle()
    assert here.first() == "Q submits pilots: 12 in this cycle, max_per_cycle lowered 40 to 12"


class TestOutsideOfCycles:
    """What no cycle tells."""

    def test_the_daemon_does_not_run(self, place: Callable[..., Place]) -> None:
        here = place()
        here.world.wms.status = "offline"
        here.cycle(times=3)
        here.running = False
        lines = here.why()
        assert lines[0] == "Q submits nothing: the factory is not running: last cycle 22:15"
        assert lines[1] == "  before that: Q submits nothing: the site is offline in the WMS"

    @pytest.mark.parametrize("running", [None, True])
    def test_the_daemon_is_silent(self, place: Callable[..., Place], running: bool | None) -> None:
        here = place()
        here.cycle()
        here.running = running
        here.world.advance(3600)
        said = "no queue has had a cycle since 22:13: the factory is down or hangs"
        assert here.first() == f"Q submits nothing: {said}"

    def test_one_queue_hangs(self, place: Callable[..., Place]) -> None:
        here = place(others=[make_queue("R")])
        here.cycle()
        here.cycle("R", times=20)
        assert here.first() == "Q submits nothing: it has had no cycle since 22:13, though other queues have"

    def test_there_was_no_cycle_yet(self, place: Callable[..., Place]) -> None:
        here = place(others=[make_queue("R")])
        here.cycle("R")
        assert here.first() == "Q submits nothing: it has had no cycle yet"

    def test_the_queue_is_disabled(self, place: Callable[..., Place]) -> None:
        here = place()
        here.cycle()
        here.disabled["Q"] = here.queues.pop("Q")
        assert here.first().startswith("Q submits pilots"), "as long as the daemon has not reloaded"
        assert "as soon as the factory has reloaded: the queue is disabled" in here.why()[1]
        here.world.advance(3600)
        assert here.first().startswith("Q submits nothing: the queue is disabled, enabled = no at ")

    def test_the_section_has_mistakes(self, place: Callable[..., Place]) -> None:
        here = place()
        del here.queues["Q"]
        here.out = (Problem("queues.conf", 7, "Q", "backend", "is no backend", queue="Q"),)
        said = "its section has mistakes: queues.conf:7: [Q] backend: is no backend"
        assert here.first() == f"Q submits nothing: {said}"

    def test_the_section_is_gone(self, place: Callable[..., Place]) -> None:
        here = place()
        here.cycle()
        here.queues.clear()
        here.world.advance(3600)
        assert here.first() == "Q submits nothing: it is not in the configuration any more"

    def test_it_was_paused_a_moment_ago(self, place: Callable[..., Place]) -> None:
        here = place()
        here.cycle()
        here.operator = OperatorState("pause", "ada", here.clock.at, "moving")
        assert here.first() == "Q submits nothing: paused by ada since 2023-11-14 22:14 UTC: moving"

    def test_nothing_is_recorded(self, place: Callable[..., Place]) -> None:
        here = place()
        scene = here.scene("the decision record is switched off ([factory] record_keep = 0)")
        [line, *_] = tell(scene, "Q", None, find(scene, "Q", None))
        assert line == "nobody knows of Q: the decision record is switched off ([factory] record_keep = 0)"


class TestThen:
    """What was, at a time."""

    def test_it_was_so_then(self, place: Callable[..., Place]) -> None:
        here = place()
        here.world.wms.status = "offline"
        here.cycle(times=10)
        here.world.wms.status = "online"
        here.cycle(times=10)
        assert here.first(at=START + 200) == "22:16: Q submits nothing: the site is offline in the WMS"
        assert here.why(at=START + 200)[1].startswith("  so since 22:13;")
        assert "before" not in here.first()

    def test_the_factory_did_not_run_then(self, place: Callable[..., Place]) -> None:
        here = place()
        here.cycle(times=2)
        here.world.advance(7200)
        here.cycle(times=2)
        said = "the factory was not running: no cycle of any queue from 2023-11-14 22:14 to 00:15"
        assert here.first(at=START + 3600).endswith(f"Q submits nothing: {said}")

    def test_the_queue_was_not_served_then(self, place: Callable[..., Place]) -> None:
        here = place(others=[make_queue("R")])
        here.cycle()
        here.cycle("R", times=60)
        here.cycle()
        assert "it had no cycle from 22:13 to 23:14, though other queues had" in here.first(at=START + 1800)

    def test_before_the_record(self, place: Callable[..., Place]) -> None:
        here = place()
        here.cycle()
        assert "nothing is recorded of it then, the record begins 22:13" in here.first(at=START - 60)


class TestFactory:
    """Situations that only a factory knows: what an operator did, a full disk, what cannot be built, a bug."""

    @pytest.fixture
    def first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
        monkeypatch.setattr(plugins, "ALIASES", FAKES)
        journal = Journal()
        monkeypatch.setattr(parts, "JOURNAL", journal)

        def ask(state: OperatorState | None = None, free: float = 1e12, broken: str = "") -> str:
            clock = ManualClock()
            queue = make_queue("Q", backend="fake", wms="w", source="local")
            options = FactoryOptions(id="F", host="here", state_dir=tmp_path, pilot_log_dir=tmp_path)
            config = Config(
                Path("/etc/apf"),
                options,
                {"local": Section("fake", "local", PartOptions(), "fake")},
                {"w": Section("wms", "w", PartOptions(), "fake")},
                {},
                {},
                {"Q": queue},
            )
            operator = Operator(tmp_path)
            if state:
                operator.set("Q", state)
            journal.broken.add(broken)
            factory = Factory(config, clock=clock, operator=operator, dry_run=True, looking=True)
            factory._disk = FreeSpace(clock, lambda _: SimpleNamespace(free=free))
            reports = factory.look(["Q"])
            factory.stop()
            here = Place(tmp_path, [queue])
            here.write(reports)
            return here.first()

        return ask

    def test_paused_by_an_operator(self, first: Callable[..., str]) -> None:
        line = first(OperatorState("pause", "ada", START, "the CE moves"))
        assert line == "Q submits nothing: paused by ada since 2023-11-14 22:13 UTC: the CE moves"

    def test_draining(self, first: Callable[..., str]) -> None:
        line = first(OperatorState("drain", "ada", START, "the CE moves"))
        assert line.startswith("Q submits nothing: draining by ada since ")

    def test_the_disk_is_full(self, first: Callable[..., str], tmp_path: Path) -> None:
        assert first(free=5e6) == f"Q submits nothing: {tmp_path} has 5 MB free, min_free is 100 MB: make room there"

    def test_something_cannot_be_built(self, first: Callable[..., str]) -> None:
        assert first(broken="w").startswith("Q submits nothing: out until a reload, something it needs cannot be built")

    def test_a_dry_run(self, first: Callable[..., str]) -> None:
        assert first() == "Q submits nothing: the factory runs with --dry-run, 3 would be submitted"


def test_a_throttled_black_hole(place: Callable[..., Place]) -> None:
    here = place({"throttle": "0.5", "max_pending": 20})
    here.world.activate("Q", 10_000)
    here.world.pool.start_after, here.world.pool.run_for, here.world.pool.code = 0.0, 5.0, 1
    here.cycle(times=4, every=30.0)
    assert here.first().startswith("Q submits nothing: a black hole swallows its pilots: black hole, 20 of 20 pilots")
    here.world.wms.activated["Q"] = 1
    here.world.advance(700)
    here.world.pool.start_after = None
    here.cycle(times=2)
    assert here.first().startswith("Q submits nothing: a black hole swallows its pilots: black hole, 20 of 20 pilots")
    assert here.first().endswith("when none waits; 20 of them on n1; 1 pilot waits to start")


def test_pilots_find_no_work(place: Callable[..., Place]) -> None:
    here = place({"empty_guard": "0.8", "max_pending": 20})
    here.world.pool.start_after, here.world.pool.run_for = 0.0, 5.0
    here.world.wms.frozen = True
    here.world.wms.activated["Q"] = 0
    here.cycle(times=4, every=30.0)
    said = "its pilots find no work: 20 of 20 pilots found no work: one probe every 120 s, when none waits"
    assert here.first() == f"Q submits nothing: {said}"


def test_a_downtime(place: Callable[..., Place]) -> None:
    here = place()
    here.world.wms.downtimes = (Downtime(START - 60, START + 3600, "new power supply", "ada"),)
    here.cycle()
    assert here.first() == (
        "Q submits nothing: there is a downtime: "
        "down from 2023-11-14 22:12 to 2023-11-14 23:13 UTC, by ada: new power supply"
    )
