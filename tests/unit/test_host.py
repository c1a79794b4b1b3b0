import os
import pwd
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopyfactory import host
from autopyfactory.host import Account, Lock, Name, PidFile, StartError, claim, ensure

AS_ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become another user")
needs_user = pytest.mark.skipif(AS_ROOT, reason="as an ordinary user")


@needs_root
def test_root_must_name_an_ordinary_account() -> None:
    for runas in ("", "root"):
        with pytest.raises(StartError, match="refusing to run as root") as caught:
            Account.of(runas)
        assert caught.value.code == 2
    assert Account.of("nobody").switch


def test_an_unknown_account() -> None:
    with pytest.raises(StartError, match="no account 'no-such-user'") as caught:
        Account.of("no-such-user")
    assert caught.value.code == 2


@needs_user
def test_a_user_stays_who_he_is() -> None:
    name = pwd.getpwuid(os.geteuid()).pw_name
    assert not Account.of("").switch
    assert Account.of(name).name == name
    with pytest.raises(StartError, match="only root can become"):
        Account.of("nobody")


BECOME = """
    import os, sys
    from autopyfactory.host import Account
    account = Account.of("nobody")
    account.announce()
    account.become()
    assert os.getresuid() == (account.uid,) * 3 and os.getresgid() == (account.gid,) * 3
    assert 0 not in os.getgroups(), os.getgroups()
    assert os.environ["USER"] == os.environ["LOGNAME"] == "nobody"
    try:
        os.setuid(0)
    except PermissionError:
        print(os.getcwd())
"""


@needs_root
def test_privileges_are_gone_for_good() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(BECOME)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.stdout, done.stderr) == ("/\n", "")


def test_folders_are_made(tmp_path: Path) -> None:
    ensure("state_dir", tmp_path / "a" / "b")
    ensure("state_dir", tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(StartError, match=r"state_dir: .* is no folder"):
        ensure("state_dir", tmp_path / "a")
    with pytest.raises(StartError, match=r"state_dir: cannot make .*Not a directory, make it and give it to"):
        ensure("state_dir", tmp_path / "a" / "b")


@needs_root
class TestFoldersForAnAccount:
    account = Account("someone", 12345, 54321, "/", True)

    def test_made_and_given_where_only_root_writes(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr(host, "_only_root_writes", lambda _folder: True)
        (tmp_path / "old").mkdir()
        host.make_for(self.account, [tmp_path / "new" / "state", tmp_path / "old"])
        assert (tmp_path / "new" / "state").stat().st_uid == 12345
        assert (tmp_path / "new").stat().st_uid == 0
        assert (tmp_path / "old").stat().st_uid == 0

    def test_left_alone_where_others_write(self, tmp_path: Path) -> None:
        (tmp_path / "shared").mkdir()
        (tmp_path / "shared").chmod(0o1777)
        (tmp_path / "shared" / "link").symlink_to("/etc")
        (tmp_path / "theirs").mkdir()
        os.chown(tmp_path / "theirs", 12345, 12345)
        wanted = [tmp_path / "shared" / "state", tmp_path / "theirs" / "state", tmp_path / "shared" / "dangling"]
        wanted[2].symlink_to("/etc/no-such-folder")
        host.make_for(self.account, wanted)
        assert not any(folder.exists() for folder in wanted)

    def test_who_writes(self, tmp_path: Path) -> None:
        assert host._only_root_writes(Path("/etc"))
        assert not host._only_root_writes(Path("/tmp"))
        assert PidFile.early(tmp_path / "a.pid") is None  # below /tmp


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", "taken by")
    lock.sign()
    with pytest.raises(StartError, match=rf"taken by process {os.getpid()} \(lock "):
        Lock(tmp_path / "lock", "taken by")
    lock.close()
    Lock(tmp_path / "lock", "taken by").close()


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartError, match="cannot open the lock"):
        Lock(tmp_path / "lock", "taken by")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("length", [10, 200])
def test_a_name_names_its_holder(length: int) -> None:
    text = uuid.uuid4().hex + "x" * length
    name = Name(text, "taken by")
    with pytest.raises(StartError, match="taken by process unknown"):
        Name(text, "taken by")
    name.sign()
    for _ in range(3):
        with pytest.raises(StartError, match=f"taken by process {os.getpid()} "):
            Name(text, "taken by")
    name.close()
    Name(text, "taken by").close()


def test_a_child_does_not_inherit_a_claim(tmp_path: Path) -> None:
    claims = (Name(uuid.uuid4().hex, "taken by"), Lock(tmp_path / "lock", "taken by"))
    assert not any(os.get_inheritable(one.fd) for one in claims)
    for one in claims:
        one.close()


class TestClaims:
    host = uuid.uuid4().hex

    def claim(self, base: Path, name: str, run: str, state: str, host: str = "") -> None:
        for folder in (run, state):
            (base / folder).mkdir(exist_ok=True)
        for one in claim(name, host or self.host, base / run, base / state):
            one.sign()
            self.held.append(one)

    @pytest.fixture(autouse=True)
    def _first(self, tmp_path: Path) -> Iterator[None]:
        self.held: list[Lock | Name] = []
        self.claim(tmp_path, "F1", "run", "state")
        yield
        for one in self.held:
            one.close()

    @pytest.mark.parametrize(
        ("name", "run", "state", "said"),
        [
            ("F1", "run", "state", "factory 'F1' runs already on this host as process {pid} (lock "),
            ("F1", "run2", "state2", "factory 'F1' runs already on this host as process {pid} (socket @"),
            ("F2", "run", "state", "state serves another factory, give each its own; it is used by process {pid}"),
        ],
    )
    def test_a_second_factory_is_kept_out(self, tmp_path: Path, name: str, run: str, state: str, said: str) -> None:
        with pytest.raises(StartError) as caught:
            self.claim(tmp_path, name, run, state)
        assert said.format(pid=os.getpid()) in str(caught.value)

    def test_another_one_is_let_in(self, tmp_path: Path) -> None:
        self.claim(tmp_path, "F2", "run", "state2")
        self.claim(tmp_path, "F1", "run3", "state3", host="another")


ACTS = """
    import os, sys
    from autopyfactory.host import Account
    account = Account.of("nobody")
    groups = os.getgroups()
    with account.acting():
        assert os.geteuid() == os.getuid() == account.uid and os.getegid() == account.gid
        assert 0 not in os.getgroups()
        assert not os.access("/root", os.X_OK)
    assert os.getresuid() == (0, 0, 0) and os.getresgid() == (0, 0, 0) and os.getgroups() == groups
    account.become()
"""


@needs_root
def test_the_account_is_tried_on(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(ACTS)], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "apf.pid"
    path.write_text("123456789012345\nold\n")
    pidfile = PidFile(path)
    assert path.read_text().startswith("123456789012345\n")
    pidfile.sign()
    assert path.read_text() == f"{os.getpid()}\n"
    pidfile.note("reload 1 refused: a long reason")
    pidfile.note("reload 2 done")
    assert path.read_text() == f"{os.getpid()}\nreload 2 done\n"
    pidfile.remove()
    assert not path.exists()
    pidfile.remove()
    os.close(pidfile.fd)


def test_pid_file_in_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot write the PID file"):
        PidFile(tmp_path / "no" / "apf.pid")
    assert PidFile.early(tmp_path / "no" / "apf.pid") is None
