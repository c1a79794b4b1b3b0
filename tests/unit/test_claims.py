import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from autopyfactory.claims import Lock, Name, PidFile, claim
from autopyfactory.errors import StartError


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


def test_pid_file(tmp_path: Path) -> None:
    path = tmp_path / "apf.pid"
    path.write_text("123456789012345\nold\n")
    (tmp_path / "apf.pid.reload").write_text("reload 1 done\n")
    pidfile = PidFile(path)
    assert path.read_text().startswith("123456789012345\n")
    pidfile.sign()
    assert path.read_text() == f"{os.getpid()}\n"
    beside = tmp_path / "apf.pid.reload"
    assert beside.read_text() == "\n", "what a factory of before was told says nothing"
    pidfile.note("reload 1 refused: a long reason")
    pidfile.note("reload 2 done")
    assert beside.read_text() == "reload 2 done\n"
    assert path.read_text() == f"{os.getpid()}\n", "each word of it is a number to signal, for many a script"
    pidfile.remove()
    assert not list(tmp_path.iterdir())
    pidfile.remove()
    os.close(pidfile.fd)
    os.close(pidfile.beside_fd)


def test_pid_file_in_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StartError, match="cannot write the PID file"):
        PidFile(tmp_path / "no" / "apf.pid")
    assert PidFile.early(tmp_path / "no" / "apf.pid") is None
