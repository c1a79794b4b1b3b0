import os
import pwd
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from autopyfactory.account import Account, ensure, make_for, only_root_writes
from autopyfactory.claims import PidFile
from autopyfactory.errors import StartError

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
    from autopyfactory.account import Account
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
        monkeypatch.setattr("autopyfactory.account.only_root_writes", lambda _folder: True)
        (tmp_path / "old").mkdir()
        make_for(self.account, [tmp_path / "new" / "state", tmp_path / "old"])
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
        make_for(self.account, wanted)
        assert not any(folder.exists() for folder in wanted)

    def test_who_writes(self, tmp_path: Path) -> None:
        assert only_root_writes(Path("/etc"))
        assert not only_root_writes(Path("/tmp"))
        assert PidFile.early(tmp_path / "a.pid") is None  # below /tmp


ACTS = """
    import os, sys
    from autopyfactory.account import Account
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
