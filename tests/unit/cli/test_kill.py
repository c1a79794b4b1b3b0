"""`autopyfactory kill` over the fork backend's files, beside the process that has them and without it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autopyfactory.batch import fork_pilots
from autopyfactory.batch.fork_files import ForkFiles
from autopyfactory.cli import main
from autopyfactory.clock import Clock
from autopyfactory.errors import SourceError, StartError
from autopyfactory.ledger import Ledger
from autopyfactory.model import Pilot, PilotState
from autopyfactory.operate import Operator, OperatorState

CONF = """
[factory]
id = F1
state_dir = {home}/state
{more}
"""
QUEUES = """
[DEFAULT]
backend = fork
rules = fixed
fixed = 1
executable = /bin/true
allow_same_user = yes
[Q]
[OTHER]
"""


class Site:
    """A factory's files, and pilots that wait on its host."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.files = ForkFiles(home / "state/fork/local")
        self.files.open()
        self.write()
        self._next = 0

    def write(self, more: str = "", queues: str = QUEUES) -> None:
        (self.home / "queues.conf").write_text(queues)
        (self.home / "apf.conf").write_text(CONF.format(home=self.home, more=more))

    def submit(self, queue: str, count: int, factory: str = "F1", endpoint: str = "x") -> tuple[str, ...]:
        self._next += 1
        words = dict.fromkeys(("host", "submission", "shape"), "x") | {"endpoint": endpoint}
        order = {"count": count, "factory": factory, "queue": queue, "cores": 1, "queued": 7.0, **words}
        return self.files.add(float(self._next), "", order).cids()

    def run(self, cid: str) -> None:
        """Let this very process be the guard of a pilot."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        (self.files.folder / f"{cid}.claim").write_text(json.dumps({"process": f"{boot} {os.getpid()} 1"}))

    def waiting(self, cids: tuple[str, ...]) -> int:
        return sum(self.files.claim(cid) is None for cid in cids)

    def kill(self, *words: str) -> Result:
        return CliRunner().invoke(main, ["kill", "--conf", str(self.home / "apf.conf"), *words])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = Site(tmp_path)
    yield one
    one.files.close()


def test_only_the_pilots_of_the_queue_and_the_factory(site: Site) -> None:
    mine, others, foreign = site.submit("Q", 3), site.submit("OTHER", 2), site.submit("Q", 1, factory="F2")
    result = site.kill("--queue", "Q", "--dry-run")
    assert (result.exit_code, result.output) == (0, "would remove 3 pilots of Q: pending 3\n")
    assert site.waiting(mine) == 3
    result = site.kill("--queue", "Q")
    assert result.exit_code == 0
    assert result.output.startswith("removed 3 pilots of Q: pending 3\nQ may submit new ones: 'autopyfactory pause Q")
    assert (site.waiting(mine), site.waiting(others), site.waiting(foreign)) == (0, 2, 1)
    assert [pilot.queue for pilot in fork_pilots.listed(site.files.folder, "F1")] == ["OTHER"] * 2
    result = site.kill("--queue", "Q")
    assert (result.exit_code, result.output) == (0, "removed nothing: no pilot of Q is there\n")


def test_pilots_under_a_former_name_are_the_queues_own(site: Site) -> None:
    site.write(queues=QUEUES.replace("[OTHER]", "formerly = OLD\n[OTHER]"))
    mine, old = site.submit("Q", 1), site.submit("OLD", 2)
    assert site.kill("--queue", "Q", "--dry-run").output == "would remove 3 pilots of Q: pending 3\n"
    assert site.kill("--queue", "Q").output.startswith("removed 3 pilots of Q: pending 3\n")
    assert (site.waiting(mine), site.waiting(old)) == (0, 0)


def test_only_the_states_that_are_named(site: Site) -> None:
    mine = site.submit("Q", 2)
    result = site.kill("--queue", "Q", "--state", "running", "--state", "held")
    assert (result.exit_code, site.waiting(mine)) == (0, 2)
    assert result.output == "removed nothing: no running or held pilot of Q is there\n"
    assert site.kill("--queue", "Q", "--state", "finishing").exit_code == 2
    assert site.kill("--queue", "Q", "--state", "pending").output.startswith("removed 2 pilots of Q: pending 2\n")


def test_only_the_endpoints_that_are_named(site: Site) -> None:
    one, two, three = (site.submit("Q", 2, endpoint=name) for name in ("ce1", "ce2", "ce3"))
    words = ["--endpoint", "ce1", "--endpoint", "ce3"]
    assert site.kill("Q", *words, "--dry-run").output == "would remove 4 pilots of Q at ce1 or ce3: pending 4\n"
    assert site.kill("Q", *words).output.startswith("removed 4 pilots of Q at ce1 or ce3: pending 4\n")
    assert [site.waiting(cids) for cids in (one, two, three)] == [0, 2, 0]
    assert site.kill("Q", "--endpoint", "ce").output == "removed nothing: no pilot of Q at ce is there\n"


def test_a_pilot_that_has_started_since_it_was_listed_goes_on(site: Site) -> None:
    (cid,) = site.submit("Q", 1)
    (listed,) = fork_pilots.listed(site.files.folder, "F1")
    site.run(cid)
    assert not fork_pilots.remove(site.files.folder, listed)
    assert site.files.end(cid) is None


def test_the_queue_may_stand_there_as_in_other_commands(site: Site) -> None:
    site.submit("Q", 1)
    assert site.kill("Q", "--dry-run").output == "would remove 1 pilot of Q: pending 1\n"
    assert [site.kill(*words).exit_code for words in ([], ["Q", "--queue", "OTHER"])] == [2, 2]


def test_a_queue_that_is_configured_no_more(site: Site) -> None:
    mine = site.submit("GONE", 2)
    result = site.kill("--queue", "GONE")
    assert (result.exit_code, result.output) == (0, "removed 2 pilots of GONE: pending 2\n")
    assert site.waiting(mine) == 0
    result = site.kill("--queue", "OTHR")
    assert result.exit_code == 0
    assert "no queue 'OTHR' is configured either, did you mean 'OTHER'?" in result.output


def test_a_source_that_no_queue_needs_any_more_is_known_from_the_record(site: Site, tmp_path: Path) -> None:
    mine = site.submit("GONE", 2)
    Ledger(tmp_path / "state/submissions.jsonl", Clock()).open("GONE", "fork local", 2, waiting=0, in_flight=0)
    site.write(queues="")
    assert site.kill("--queue", "GONE").output == "removed 2 pilots of GONE: pending 2\n"
    assert site.waiting(mine) == 0


def test_a_source_whose_section_is_gone_is_named(site: Site, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "state/submissions.jsonl", Clock())
    ledger.open("Q", "schedd old", 2, waiting=0, in_flight=0)
    site.submit("Q", 1)
    result = site.kill("--queue", "Q")
    assert result.exit_code == 1
    assert "removed 1 pilot of Q: pending 1\n" in result.output
    assert "not done: schedd old took pilots of Q and has no section any more: write it again" in result.output


def test_a_source_without_an_answer_is_an_error(site: Site) -> None:
    site.submit("Q", 1)
    (site.files.folder / "broken.json").write_text("{")
    result = site.kill("--queue", "Q")
    assert result.exit_code == 1
    assert "not done: fork local: no access to the pilots' files: " in result.output
    assert "removed nothing" not in result.output


def test_a_paused_queue_is_not_said_to_submit(site: Site, tmp_path: Path) -> None:
    site.submit("Q", 1)
    Operator(tmp_path / "state").set("Q", OperatorState("pause", "ada", 0.0, "why"))
    assert site.kill("--queue", "Q").output == "removed 1 pilot of Q: pending 1\n"


def test_another_account_is_refused(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = (site.home / "state").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    result = site.kill("--queue", "Q")
    assert result.exit_code == 1
    assert "who owns" in result.output and "or as root" in result.output


def test_what_cannot_be_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_words: object) -> None:
        raise StartError("the script failed")

    monkeypatch.setattr("autopyfactory.environment.source", fails)
    site.write(more="environment_script = /etc/grid.sh")
    assert site.kill("--queue", "Q").output == "Error: the script failed\n"
    site.write(more=f"state_dir = {site.home}/nowhere")
    assert site.kill("--queue", "Q").exit_code == 2
    assert site.kill().exit_code == 2


def test_without_a_state_dir_nobody_knows_whose_pilots_they_are(tmp_path: Path) -> None:
    (tmp_path / "queues.conf").write_text(QUEUES)
    (tmp_path / "apf.conf").write_text(CONF.format(home=tmp_path, more=""))
    result = CliRunner().invoke(main, ["kill", "--conf", str(tmp_path / "apf.conf"), "--queue", "Q"])
    assert result.exit_code == 1
    assert "no factory with this state_dir has run here yet" in result.output


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_written_off_is_said_to_be_no_removal(
    site: Site, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    gone = [Pilot(f"{number}", "Q", PilotState.UNKNOWN, endpoint="ce1") for number in range(2)]
    left = list(gone)

    class Gram:
        def lost(self, queue: str) -> list[Pilot]:
            return [*left] if queue == "Q" else []

        def write_off(self, pilots: list[Pilot]) -> None:
            left[:] = [pilot for pilot in left if pilot not in pilots]

        def pilots(self, queue: str, states: frozenset[PilotState]) -> list[Pilot]:
            return [pilot for pilot in left if pilot.state in states]

        def remove_pilots(self, pilots: list[Pilot]) -> int:
            raise SourceError("globus x", "no answer")

        def close(self) -> None:
            pass

    monkeypatch.setattr("autopyfactory.cli.kill._batch", lambda place, config: Gram())
    result = site.kill("--queue", "Q")
    assert (result.exit_code, "not done: fork local: no answer" in result.output) == (1, True)
    assert left == gone, "only where the state is named"
    assert site.kill("Q", "--state", "unknown", "--endpoint", "ce2").output.startswith("removed nothing: no unknown")
    assert left == gone, "only where it went there"
    result = site.kill("--queue", "Q", "--state", "unknown", *["--dry-run"] * dry_run)
    verb = "would write off" if dry_run else "wrote off"
    assert result.output == (
        f"{verb} 2 of Q that no CE answers for: they are not removed and may still run,"
        " the factory counts them no more\n"
    )
    assert result.exit_code == 0
    assert left == (gone if dry_run else [])
