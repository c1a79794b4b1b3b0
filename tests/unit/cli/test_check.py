from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from autopyfactory import __version__
from autopyfactory.cli import COMMANDS, main
from tests.testbed import papers

MAIN = "[factory]\nid = test\n[wms panda]\nurl = http://panda.example.org\n"
QUEUE = "wms = panda\nwmsqueue = Q\nbackend = condor\ntype = vanilla\n"


def run(*arguments: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, env=env)


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "autopyfactory.conf"
    path.write_text(MAIN)
    (tmp_path / "queues.conf").write_text(f"[Q]\n{QUEUE}")
    return path


def check(conf: Path, queues: str) -> tuple[int, list[str]]:
    (conf.parent / "queues.conf").write_text(queues)
    result = run("check", "--conf", str(conf))
    return result.exit_code, result.stdout.replace(f"{conf.parent}/", "").splitlines()


def test_a_clean_configuration(conf: Path) -> None:
    assert check(conf, f"[Q]\n{QUEUE}") == (0, ["1 queue: 1 served, 0 disabled, 0 out"])


def test_what_default_sets_for_other_queues_takes_out_none_without_a_wms(conf: Path) -> None:
    with conf.open("a") as file:
        file.write("[credential prod]\nfile = /nowhere/proxy\n")
    conf.write_text(conf.read_text().replace("id = test\n", "id = test\nsubmit_users = pilot\n"))
    default = "[DEFAULT]\nwms = panda\nstatus_test = 1\nstatus_offline = 0\ntransferring_limit = 9\nproxy = prod\n"
    local = "[L]\nbackend = fork\nsubmit_user = pilot\nwms =\nrules = fixed\nfixed = 1\n"
    code, lines = check(conf, default + local)
    assert (code, lines[-1]) == (0, "1 queue: 1 served, 0 disabled, 0 out")
    assert not any("[L]" in line or "[DEFAULT]" in line for line in lines)
    code, lines = check(conf, default + local + "status_test = 2\nproxy = prod\n")
    assert code == 1
    assert lines[0].startswith("queues.conf:13: [L] status_test: needs the status of a site: set wms and wmsqueue")
    assert lines[1].startswith("queues.conf:14: [L] proxy: warning: is never read: the fork backend hands no proxy")


def test_warnings_are_clean_too(conf: Path) -> None:
    code, lines = check(conf, f"[Q]\n{QUEUE}fixed = 1\n[R]\nenabled = no\n")
    assert code == 0
    assert lines[0] == "queues.conf:6: [Q] fixed: warning: is never read, for the rule 'fixed' is not in rules"
    assert all("[R]" in line and "warning: " in line for line in lines[1:-1])
    assert lines[-1] == "2 queues: 1 served, 1 disabled, 0 out"


def test_queues_that_are_out(conf: Path) -> None:
    code, lines = check(conf, f"[Q]\n{QUEUE}[R]\n{QUEUE}max_pendin = 5\n")
    assert code == 1
    assert lines == [
        "queues.conf:11: [R] max_pendin: unknown option, did you mean 'max_pending'?",
        "2 queues: 1 served, 0 disabled, 1 out",
    ]


@pytest.mark.parametrize(
    ("queue", "option"),
    [
        ("backend = batch\ntype = slurm", "comment"),
        ("backend = batch\ntype = slurm", "clus"),
        ("backend = batch\ntype = lsf", "J"),
        ("backend = globus\ntype = gt2\nendpoint = gk.example.org\nproxy = /x", "Executable"),
    ],
)
def test_own_lines_that_would_hide_the_pilots(conf: Path, queue: str, option: str) -> None:
    head = f"[Q]\n{queue}\nrules = fixed\nfixed = 1\n"
    line = head.count("\n") + 1
    code, lines = check(conf, f"{head}submit.{option} = x\nsubmit.fine = y\n")
    told = f"queues.conf:{line}: [Q] submit.{option}: would hide the pilots from their own factory, take it out"
    assert (code, [text for text in lines if "hide" in text]) == (1, [told])


@pytest.mark.parametrize(
    ("row", "unread"),
    [
        ("vanilla", {"token", "submit_user"}),
        ("grid\nsubtype = condor\nendpoint = ce", {"submit_user"}),
        ("grid\nsubtype = slurm", {"token", "submit_user"}),
        ("grid\nsubtype = gt5\nendpoint = gk", {"token", "submit_user"}),
        (
            "grid\nsubtype = cream\nendpoint = ce\nlrms = pbs\nbatchqueue = q",
            {"token", "submit_user", "cores", "memory", "walltime"},
        ),
    ],
)
def test_what_a_row_of_condor_leaves_out_is_told(conf: Path, row: str, unread: set[str]) -> None:
    asked = "cores = 8\nmemory = 16GB\nwalltime = 2h\nproxy = /x\ntoken = /x\nsubmit_user = pilot\n"
    section = f"[Q]\nbackend = condor\ntype = {row}\nrules = fixed\nfixed = 1\n"
    code, lines = check(conf, section + asked)
    told = [line.partition("[Q] ")[2] for line in lines if "is never read" in line or "is not sent" in line]
    assert (code, {line.partition(":")[0] for line in told}) == (0, unread)
    assert all(": warning: is " in line for line in told)
    _, lines = check(conf, f"[DEFAULT]\n{asked}{section}")
    assert not [line for line in lines if "is never read" in line or "is not sent" in line], (
        "nothing is said of defaults"
    )


def test_credentials_that_are_not_good_now(conf: Path) -> None:
    with conf.open("a") as file:
        file.write("[credential prod]\nkind = token\nfile = /nowhere/token\n")
    proxy = papers.write(conf.parent / "proxy", papers.proxy(0, 3600))
    unused = "backend = fork\nsubmit_user = nobody\nrules = fixed\nfixed = 1\ntoken = /nowhere/else\n"
    code, lines = check(conf, f"[Q]\n{QUEUE}token = prod\nproxy = {proxy}\n[R]\n{unused}")
    assert code == 1, "R is out for its account"
    lines = [line for line in lines if "is never read" not in line]
    assert lines[1] == (
        "autopyfactory.conf:7: [credential prod] file: warning: /nowhere/token does not exist, "
        "make it or correct the path"
    )
    assert lines[2].startswith("queues.conf:7: [Q] proxy: warning: proxy expired ")
    assert lines[2].endswith(" days ago, renew it")
    assert len(lines) == 4


def test_a_problem_of_many_queues_is_one_line(conf: Path) -> None:
    code, lines = check(conf, f"[DEFAULT]\n{QUEUE}max_pendin = 5\n[A]\n[B]\n[C]\n")
    assert code == 1
    assert lines == [
        "queues.conf:6: [DEFAULT] max_pendin: unknown option, did you mean 'max_pending'? (takes out 3 queues)",
        "3 queues: 0 served, 0 disabled, 3 out",
    ]


def test_a_queue_file_that_cannot_be_read_is_not_clean(conf: Path) -> None:
    (conf.parent / "queues.d" / "a.conf").mkdir(parents=True)
    code, lines = check(conf, f"[Q]\n{QUEUE}")
    assert (code, lines[0]) == (1, "queues.d/a.conf: is no regular file")


def test_a_wrong_main_file_cannot_start_and_tells_of_the_queues_too(conf: Path) -> None:
    conf.write_text(MAIN + "[schedd local]\nintervall = 5s\n")
    code, lines = check(conf, f"[Q]\n{QUEUE}max_pendin = 5\n")
    assert code == 2
    assert lines == [
        "autopyfactory.conf:6: [schedd local] intervall: unknown option, did you mean 'interval'?",
        "queues.conf:6: [Q] max_pendin: unknown option, did you mean 'max_pending'?",
        "cannot start: the main configuration is wrong",
    ]


def test_a_missing_file(tmp_path: Path) -> None:
    result = run("check", "--conf", str(tmp_path / "no.conf"))
    assert result.exit_code == 2
    assert f"{tmp_path}/no.conf: cannot be read: no such file or directory" in result.output


def test_the_environment_names_the_file(conf: Path) -> None:
    assert run("check", env={"APF_CONF": str(conf)}).exit_code == 0
    assert run("check", "--conf", "/no/such", env={"APF_CONF": str(conf)}).exit_code == 2


@pytest.mark.parametrize("arguments", [["chek"], ["check", "--cof", "x"], ["check", "extra"], ["--nothing"]])
def test_a_wrong_command_line(arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_the_group() -> None:
    assert __version__ in run("--version").stdout
    assert {"check", "config", "reference"} <= set(COMMANDS)
