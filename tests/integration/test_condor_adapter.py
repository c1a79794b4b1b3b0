"""The condor backend against a real HTCondor pool."""

import contextlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.condor import CondorPool
from tests.testbed.patience import patience

pytestmark = pytest.mark.xdist_group("condor-adapter")

DRIVER = Path(__file__).parents[1] / "testbed" / "condor_driver.py"
QUOTING = ("a b", "it's", 'say "hi"', "", "back\\slash", "tab\there", "ü€", "#c;d", "*?", "%d", "`id`", "a=b", "trail ")
MACROS = ("$HOME", "$(Cluster)", "$$(OpSys)", "$$(x", "$$", "$ENV(HOME)", "$INT(3)", "$$([1+1])", "$$$$x", "$$$(A)")
NASTY = QUOTING + MACROS

WRAPPER = """#!/bin/sh
# Print every argument and the environment, then sleep and exit as told.
for word in "$@"; do printf '<%s>\\n' "$word"; done
env -0 | tr '\\0' '\\n'
sleep "${TEST_SLEEP:-0}"
[ -z "$TEST_SIGNAL" ] || kill -"$TEST_SIGNAL" $$
exit "${TEST_EXIT:-0}"
"""


class Pool(CondorPool):
    """A pool and the python whose bindings its user runs."""

    python: Path


class Driver:
    """A CondorSchedd in a process of the pool's user."""

    def __init__(self, pool: Pool, base: Path, section: str = "test", position: int = 0, **options: Any) -> None:
        self._process = subprocess.Popen(
            pool.as_user([str(pool.python), str(base / DRIVER.name)]),
            env=pool.environment,
            cwd=base,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._turn = threading.Lock()
        setup = {"name": section, "options": options, "log_dir": str(base / "logs"), "position": position}
        self._write(setup)

    def _write(self, request: dict[str, Any]) -> None:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def answer(self, call: str, **arguments: Any) -> dict[str, Any]:
        """Return the whole answer, an error included."""
        assert self._process.stdout
        with self._turn:
            self._write({"call": call, **arguments})
            answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def call(self, call: str, **arguments: Any) -> Any:
        """Return the result of a call that must work."""
        answer = self.answer(call, **arguments)
        assert "error" not in answer, answer
        return answer["result"]

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


@pytest.fixture(scope="module")
def base(testbed: Path, user: str) -> Iterator[Path]:
    (testbed / "work").mkdir(mode=0o755, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix="condor-adapter-", dir=testbed / "work"))
    path.chmod(0o755)
    for folder in (path / "jobs", path / "jobs/logs"):
        folder.mkdir()
        shutil.chown(folder, user)
    wrapper = path / "jobs/wrapper.sh"
    wrapper.write_text(WRAPPER)
    wrapper.chmod(0o755)
    # The clone may be closed to the user.
    shutil.copy(DRIVER, path / "jobs")
    yield path / "jobs"
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def pool(testbed: Path, user: str, base: Path) -> Iterator[Pool]:
    requirement = (
        "SUBMIT_REQUIREMENT_NAMES = NoBad\nSUBMIT_REQUIREMENT_NoBad = APF_BAD =?= undefined\n"
        'SUBMIT_REQUIREMENT_NoBad_REASON = "bad pilots are not taken here"\nMAX_JOBS_PER_SUBMISSION = 100\n'
    )
    with Pool(base.parent / "pool", user, testbed / "htcondor", extra=requirement) as running:
        running.python = testbed / "venv/bin/python"
        yield running


@pytest.fixture
def drive(pool: Pool, base: Path) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def start(**options: Any) -> Driver:
        drivers.append(Driver(pool, base, **options))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.close()


@pytest.fixture
def local(drive: Callable[..., Driver]) -> Driver:
    return drive(deadline=20)


def until(check: Callable[[], Any], seconds: float = 40) -> Any:
    """Return the first true result of a check."""
    end = time.monotonic() + patience(seconds)
    while time.monotonic() < end:
        if result := check():
            return result
        time.sleep(0.3)
    raise AssertionError(f"not within {seconds} s: {check()}")


def counts(driver: Driver, submission: str) -> dict[str, int]:
    result: dict[str, int] = driver.call("poll")["counts"].get(submission, {})
    return result


def test_pilots_from_submission_to_their_end(local: Driver, pool: Pool, base: Path) -> None:
    cids = local.call(
        "submit",
        order="life",
        count=20,
        executable=str(base / "wrapper.sh"),
        environment={"TEST_SLEEP": "3", "TEST_EXIT": "7"},
    )
    assert len(set(cids)) == 20
    states, ended = set(), []

    def finished() -> bool:
        report = local.call("poll")
        shown = report["counts"]["life"]
        assert sum(shown.values()) == 20, "completed pilots stay listed"
        states.update(shown)
        ended.extend(report["ended"])
        return bool(shown == {"finishing": 20})

    until(finished)
    assert states == {"pending", "running", "finishing"}
    assert sorted(ended) == sorted([cid, "life", 7, ""] for cid in cids)
    assert local.call("poll")["ended"] == []
    assert (
        pool.run(["condor_q", "-allusers", "-const", 'APF_SUBMISSION == "life"', "-af", "JobStatus"]).split()
        == ["4"] * 20
    )
    assert local.call("ended", submissions=["life", "never"]) == ["life"]
    for suffix in ("out", "err", "log"):
        assert (base / f"logs/{cids[0]}.{suffix}").exists()


def test_short_pilots_between_two_polls_are_noticed_with_their_signal(local: Driver, base: Path) -> None:
    local.call("poll")
    cids = local.call(
        "submit",
        order="short",
        count=3,
        executable=str(base / "wrapper.sh"),
        environment={"TEST_SIGNAL": "SEGV"},
    )
    time.sleep(4)
    ended = until(lambda: _ended_of(local, "short"))
    assert sorted(ended) == sorted([cid, "short", -11, ""] for cid in cids)
    again = local.call(
        "submit", order="short2", count=1, executable=str(base / "wrapper.sh"), environment={"TEST_SIGNAL": "KILL"}
    )
    assert until(lambda: local.call("poll")["ended"]) == [[again[0], "short2", -9, ""]]


def test_completed_pilots_leave_the_queue_and_are_found_in_the_history(local: Driver, base: Path) -> None:
    soon = {"leave_in_queue": "JobStatus == 4 && time() - EnteredCurrentStatus < 3"}
    local.call("submit", order="leave", count=2, executable=str(base / "wrapper.sh"), submit=soon)
    until(lambda: not counts(local, "leave"))
    assert local.call("ended", submissions=["leave", "never"]) == ["leave"]


def test_a_restarted_factory_finds_the_end_in_the_history(
    local: Driver, drive: Callable[..., Driver], base: Path
) -> None:
    soon = {"leave_in_queue": "False"}
    local.call("submit", order="restart", count=2, executable=str(base / "wrapper.sh"), submit=soon)
    until(lambda: not counts(local, "restart"))
    assert drive(deadline=20).call("ended", submissions=["restart", "never"]) == ["restart"]


def test_tags_and_attributes_are_those_of_the_classic(local: Driver, pool: Pool, base: Path) -> None:
    cid = local.call(
        "submit",
        order="tags",
        count=1,
        executable=str(base / "wrapper.sh"),
        queue='Q "2"\\x',
        memory_mb=200,
        walltime_s=3600,
        submit={"hold": "True", "+ioIntensity": "1"},
    )[0]
    names = ["APF_FACTORY", "APF_HOST", "APF_QUEUE", "APF_SHAPE", "APF_SUBMISSION", "MATCH_APF_QUEUE", "FACTORY_JOBID"]
    names += ["APF_OUTURL", "ioIntensity", "RequestMemory", "PeriodicRemove"]
    shown = json.loads(pool.run(["condor_q", "-allusers", cid, "-json", "-attributes", ",".join(names)]))[0]
    assert shown == {
        "APF_FACTORY": "test-factory",
        "APF_HOST": "testhost",
        "APF_QUEUE": 'Q "2"\\x',
        "APF_SHAPE": "1c-200m-3600s",
        "APF_SUBMISSION": "tags",
        "MATCH_APF_QUEUE": 'Q "2"\\x',
        "FACTORY_JOBID": f"testhost#{cid}",
        "APF_OUTURL": f"http://logs.test/x/{cid}.out",
        "ioIntensity": 1,
        "RequestMemory": 200,
        "PeriodicRemove": shown["PeriodicRemove"],
    }
    assert "JobCurrentStartDate > 3600" in shown["PeriodicRemove"]
    assert counts(local, "tags") == {"held": 1}
    assert local.call("remove", queue='Q "2"\\x', states=["pending", "running"]) == 0
    assert local.call("remove", queue='Q "2"\\x', states=["held"]) == 1
    until(lambda: not counts(local, "tags"))


def test_walltime_ends_a_pilot(local: Driver, base: Path) -> None:
    local.call(
        "submit",
        order="wall",
        count=1,
        executable=str(base / "wrapper.sh"),
        walltime_s=2,
        environment={"TEST_SLEEP": "60"},
    )
    until(lambda: counts(local, "wall").get("running"))
    until(lambda: not counts(local, "wall"))
    assert local.call("ended", submissions=["wall"]) == ["wall"]
    assert [pilot[1:] for pilot in _ended_of(local, "wall")] == [["wall", None, "removed"]]


def test_pilots_that_somebody_else_removes_are_told_once(local: Driver, pool: Pool, base: Path) -> None:
    cids = local.call(
        "submit", order="gone", count=3, executable=str(base / "wrapper.sh"), environment={"TEST_SLEEP": "60"}
    )
    until(lambda: counts(local, "gone"))
    cluster = cids[0].split(".")[0]
    pool.run(["condor_rm", cluster])
    # Not by polls: one that saw only the last of them alive would ask the history for that one alone.
    until(lambda: not pool.run(["condor_q", cluster, "-af", "ProcId"]).strip())
    assert not counts(local, "gone")
    assert local.call("ended", submissions=["gone", "never"]) == ["gone"]
    assert sorted(_ended_of(local, "gone")) == sorted([cid, "gone", None, "removed"] for cid in cids)
    assert local.call("ended", submissions=["gone"]) == ["gone"]
    assert _ended_of(local, "gone") == []


def test_remove_takes_only_the_states_it_is_told(local: Driver, base: Path) -> None:
    long = {"TEST_SLEEP": "60"}
    local.call("submit", order="run", count=2, executable=str(base / "wrapper.sh"), queue="QR", environment=long)
    until(lambda: counts(local, "run") == {"running": 2})
    local.call(
        "submit",
        order="wait",
        count=3,
        executable=str(base / "wrapper.sh"),
        queue="QR",
        submit={"requirements": "False"},
    )
    assert local.call("remove", queue="QR", states=["pending", "unsent"]) == 3
    until(lambda: not counts(local, "wait"))
    assert counts(local, "run") == {"running": 2}
    assert local.call("remove", queue="QR", states=["running"]) == 2


def test_pilots_one_by_one_are_released_and_removed(local: Driver, pool: Pool, base: Path) -> None:
    wrapper, long = str(base / "wrapper.sh"), {"TEST_SLEEP": "600"}
    began = time.time()
    cids = local.call("submit", order="one", count=3, executable=wrapper, queue="Q One", environment=long)
    local.call("submit", order="two", count=1, executable=wrapper, queue="q one", environment=long)
    until(lambda: counts(local, "one") == {"running": 3})
    pool.run(["condor_hold", *cids[:2]])
    until(lambda: counts(local, "one") == {"running": 1, "held": 2})
    pilots = {pilot["cid"]: pilot for pilot in local.call("pilots", queue="Q One")}
    assert sorted(pilots) == sorted(cids)
    held, running = pilots[cids[0]], pilots[cids[2]]
    assert (held["state"], held["hold_code"], held["releases"]) == ("held", 1, 0)
    assert held["hold_reason"].startswith("via condor_hold")
    assert (running["state"], running["hold_code"], running["submission"]) == ("running", None, "one")
    assert began - 2 <= running["submitted"] <= running["since"] <= time.time() + 2
    assert [pilot["cid"] for pilot in local.call("pilots", queue="Q One", states=["running"])] == [cids[2]]
    assert len(local.call("pilots", queue="q one")) == 1

    # HTCondor may leave a job idle for ever that is released while its shadow still goes.
    gone = ["condor_q", "-const", "JobStatus == 5 && RemoteHost is undefined", "-af", "ProcId"]
    until(lambda: set(pool.run(gone).split()) >= {"0", "1"})
    assert local.call("tend", action="release", pilots=[*pilots.values()]) == 2
    until(lambda: counts(local, "one") == {"running": 3})
    # They were listed as held and are so no more.
    assert local.call("tend", action="remove", pilots=[held]) == 0
    pool.run(["condor_hold", cids[0]])
    again = until(lambda: local.call("pilots", queue="Q One", states=["held"]))
    assert [(pilot["cid"], pilot["releases"]) for pilot in again] == [(cids[0], 1)]
    assert local.call("tend", action="remove", pilots=again) == 1
    until(lambda: counts(local, "one") == {"running": 2})
    for queue in ("Q One", "q one"):
        local.call("remove", queue=queue, states=["running", "pending"])


@pytest.mark.parametrize("spool", [False, True])
def test_nasty_arguments_and_environment_arrive_intact(drive: Callable[..., Driver], base: Path, spool: bool) -> None:
    driver = drive(spool=spool, position=2)
    order = f"nasty{spool}"
    cid = driver.call(
        "submit",
        order=order,
        count=1,
        executable=str(base / "wrapper.sh"),
        arguments=NASTY,
        environment={f"NASTY{n}": word for n, word in enumerate(NASTY)},
    )[0]
    assert cid.startswith("2-")
    assert [pilot[:3] for pilot in until(lambda: _ended_of(driver, order))] == [[cid, order, 0]]
    lines = (base / f"logs/{cid}.out").read_text().split("\n")
    assert lines[: len(NASTY)] == [f"<{word}>" for word in NASTY]
    expected = {f"NASTY{n}={word}" for n, word in enumerate(NASTY)}
    expected |= {f"APFCID={cid}", f"GTAG=http://logs.test/x/{cid}.out", f"FACTORY_JOBID=testhost#{cid[2:]}"}
    assert expected <= set(lines)


def _ended_of(driver: Driver, submission: str) -> list[list[Any]]:
    return [pilot for pilot in driver.call("poll")["ended"] if pilot[1] == submission]


def test_a_remote_schedd_gets_the_input_and_gives_the_output_back(
    drive: Callable[..., Driver], pool: Pool, base: Path
) -> None:
    driver = drive(**_remote(pool))
    cids = driver.call(
        "submit", order="remote", count=12, executable=str(base / "wrapper.sh"), environment={"TEST_EXIT": "5"}
    )
    assert set(counts(driver, "remote")) <= {"pending", "running", "finishing"}
    ended: list[list[Any]] = []

    def all_back() -> bool:
        report = driver.call("poll")
        ended.extend(pilot for pilot in report["ended"] if pilot[1] == "remote")
        return "remote" not in report["counts"]

    until(all_back)
    ended.extend(_ended_of(driver, "remote"))
    assert sorted(ended) == sorted([cid, "remote", 5, ""] for cid in cids)
    assert all(f"APFCID={cid}" in (base / f"logs/{cid}.out").read_text() for cid in cids)
    assert driver.call("ended", submissions=["remote"]) == ["remote"]


def _remote(pool: Pool) -> dict[str, Any]:
    return {"section": "remote", "name": pool.schedd, "collector": pool.collector}


def test_a_pilot_whose_input_never_comes_is_removed_and_reported(
    drive: Callable[..., Driver], pool: Pool, base: Path
) -> None:
    driver = drive(spool_timeout=2)
    script = (
        "import htcondor2; d = {'executable': '/bin/true', '+APF_FACTORY': '\"test-factory\"',"
        " '+APF_SUBMISSION': '\"stuck\"', '+APF_QUEUE': '\"Q1\"'};"
        "print(htcondor2.Schedd().submit(htcondor2.Submit(d), count=1, spool=True).cluster())"
    )
    cluster = pool.run([str(pool.python), "-c", script]).strip()
    assert counts(driver, "stuck") == {"pending": 1}
    ended = until(lambda: _ended_of(driver, "stuck"))
    assert ended == [[f"{cluster}.0", "stuck", None, "removed: its input did not reach the schedd within 2 s"]]
    until(lambda: not counts(driver, "stuck"))


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({"+APF_BAD": "True"}, "bad pilots are not taken here"),
        ({"request_cpus": "x y"}, "Parse error in expression"),
        ({"universe": "grid", "grid_resource": "gt2 ce.test"}, "Invalid value 'gt2' for grid type"),
        ({"initialdir": "/nonexistent"}, "No such directory: /nonexistent"),
    ],
)
def test_refusals_carry_the_words_of_the_schedd(local: Driver, base: Path, own: dict[str, str], words: str) -> None:
    answer = local.answer("submit", order="no", count=2, executable=str(base / "wrapper.sh"), submit=own)
    assert answer["error"] == "Refused"
    assert answer["reason"].startswith("schedd test: ")
    assert words in answer["reason"]
    assert "\n" not in answer["reason"]
    assert not counts(local, "no")


def test_a_limit_of_the_schedd_is_named(local: Driver, base: Path) -> None:
    answer = local.answer("submit", order="many", count=101, executable=str(base / "wrapper.sh"))
    assert answer["error"] == "Refused"
    assert answer["reason"] == "schedd test: the schedd takes no more jobs: MAX_JOBS_PER_SUBMISSION"
    assert not counts(local, "many")


def test_a_mistyped_schedd_is_an_error_and_never_the_local_one(
    drive: Callable[..., Driver], pool: Pool, base: Path
) -> None:
    driver = drive(**_remote(pool) | {"name": "typo"})
    answer = driver.answer("poll")
    assert answer["error"] == "SourceError"
    assert answer["reason"] == f"schedd remote: collector {pool.collector} knows no schedd 'typo'"


def test_a_hanging_schedd_costs_the_deadline_and_stalls_nobody(
    drive: Callable[..., Driver], pool: Pool, base: Path
) -> None:
    driver = drive(deadline=6)
    before = sum(counts(driver, "hang").values())
    driver.call("stall")
    pool.stop_schedd()
    try:
        asked = driver.answer("poll")
        submitted = driver.answer("submit", order="hang", count=2, executable=str(base / "wrapper.sh"))
    finally:
        pool.cont_schedd()
    assert asked["error"] == "SourceError"
    assert asked["reason"] == "schedd test: no answer within 6 s"
    assert asked["seconds"] < 18
    assert submitted["error"] == "Ambiguous"
    assert submitted["seconds"] < 18
    assert driver.call("stall") < 1
    assert until(lambda: "result" in driver.answer("poll"), 10)
    assert before == sum(counts(driver, "hang").values()) == 0


def test_close_ends_a_call_under_way(drive: Callable[..., Driver], pool: Pool) -> None:
    driver = drive(deadline=20)
    driver.call("poll")
    pool.stop_schedd()
    try:
        driver.call("close_after", seconds=0.5)
        answer = driver.answer("poll")
    finally:
        pool.cont_schedd()
    assert answer["error"] == "SourceError"
    assert answer["stopped"] is True
    assert answer["seconds"] < 2


def test_nothing_is_left_of_a_killed_factory(drive: Callable[..., Driver], pool: Pool) -> None:
    driver = drive(deadline=20)
    driver.call("poll")
    children = _children(driver.pid)
    assert children
    pool.stop_schedd()
    try:
        threading.Thread(target=_quiet, args=(driver,), daemon=True).start()
        time.sleep(0.5)
        driver.kill()
        time.sleep(1)
        assert not [pid for pid in children if _lives(pid)]
    finally:
        pool.cont_schedd()


def _quiet(driver: Driver) -> None:
    with contextlib.suppress(Exception):
        driver.answer("poll")


def _lives(pid: int) -> bool:
    """Tell a process from a zombie that nobody has reaped yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_without_its_collector_a_known_schedd_still_serves_and_a_killed_one_is_found_again(
    drive: Callable[..., Driver], pool: Pool, base: Path
) -> None:
    driver = drive(deadline=15, **_remote(pool))
    driver.call("poll")
    pool.halt("collector")
    try:
        driver.call("poll")
        driver.call("submit", order="alone", count=1, executable=str(base / "wrapper.sh"))
    finally:
        pool.cont("collector")
    pool.kill_schedd()
    lost = driver.answer("poll")
    assert lost["error"] == "SourceError"
    refused = driver.answer("submit", order="lost", count=1, executable=str(base / "wrapper.sh"))
    assert refused["error"] == "Refused"
    assert until(lambda: "result" in driver.answer("poll"), 40)
    pool.wait_ready()
    assert not counts(driver, "lost")


IDLE_JOBS = """
import sys, json
from autopyfactory.clock import Clock
from autopyfactory.wms.condor import CondorJobs, CondorJobsOptions
if __name__ == "__main__":
    for options in json.loads(sys.argv[1]):
        source = CondorJobs("pool", CondorJobsOptions(deadline=20, **options), Clock())
        try:
            for name in ("atlas", "cms", "no"):
                print(name, [(cell.cores, cell.activated) for cell in source.jobs(name).value], end="; ")
            print()
        except Exception as error:
            print(error)
        source.close()
"""


def test_idle_jobs_of_the_pool_are_demand_and_pilots_are_not(pool: Pool, base: Path, local: Driver) -> None:
    description = base / "jobs.sub"
    for project, cores, number in (("atlas", 1, 4), ("atlas", 8, 2), ("cms", 1, 3)):
        description.write_text(
            f"executable = /bin/sleep\narguments = 600\nrequirements = false\nrequest_cpus = {cores}\n"
            f'+ProjectName = "{project}"\n+Priority_ = 3\nqueue {number}\n'
        )
        pool.run(["condor_submit", str(description)])
    local.call("submit", order="ours", count=5, executable=str(base / "wrapper.sh"), submit={"requirements": "false"})
    script = base / "idle_jobs.py"
    script.write_text(IDLE_JOBS)
    questions = [
        {"attribute": "ProjectName"},
        {"attribute": "ProjectName", "constraint": "Priority_ > 2 && RequestCpus > 1", "schedds": ["all"]},
        {"constraint": 'ProjectName == "cms"', "schedds": ["all"], "collector": pool.collector},
        {"constraint": "((("},
        {"schedds": ["nobody"]},
    ]
    try:
        said = pool.run([str(pool.python), str(script), json.dumps(questions)]).splitlines()
    finally:
        pool.run(["condor_rm", "-all"])
    assert said[0] == "atlas [(1, 4), (8, 2)]; cms [(1, 3)]; no []; "
    assert said[1] == "atlas [(8, 2)]; cms []; no []; "
    assert said[2] == "atlas [(1, 3)]; cms [(1, 3)]; no [(1, 3)]; "
    assert said[3].startswith("wms pool: the constraint is no ClassAd expression")
    assert said[4] == "wms pool: the collector knows no schedd 'nobody'"
