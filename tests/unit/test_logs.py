import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory import logs


@pytest.fixture
def clean_root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    root.handlers = []
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.mark.usefixtures("clean_root")
class TestLog:
    def test_line(self, tmp_path: Path) -> None:
        logs.setup(tmp_path / "apf.log", debug=False)
        logging.getLogger("autopyfactory.snapshot").info("hello %d", 1)
        logging.getLogger("autopyfactory.cycle").warning("no", extra={"queue": "BNL_PROD"})
        logging.getLogger("autopyfactory.cycle").debug("not shown")
        first, second = (tmp_path / "apf.log").read_text().splitlines()
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO  snapshot hello 1", first)
        assert second.endswith(" WARNING BNL_PROD no")

    def test_adapter_names_the_queue(self, tmp_path: Path) -> None:
        logs.setup(tmp_path / "apf.log", debug=True)
        logging.LoggerAdapter(logging.getLogger("x"), {"queue": "Q1"}).debug("m")
        assert (tmp_path / "apf.log").read_text().endswith(" DEBUG Q1 m\n")

    def test_a_message_cannot_forge_a_line_and_a_traceback_is_whole(self, tmp_path: Path) -> None:
        logs.setup(tmp_path / "apf.log", debug=False)
        try:
            raise ValueError("one\ntwo")
        except ValueError:
            logging.getLogger("x").exception("bad\n2026 INFO Q: forged\x1b[2J")
        lines = (tmp_path / "apf.log").read_text().splitlines()
        assert lines[0].endswith(r"ERROR x bad\n2026 INFO Q: forged\x1b[2J")
        assert lines[1].startswith("Traceback")
        assert lines[-2:] == ["ValueError: one", "two"]

    def test_a_moved_file_is_opened_again(self, tmp_path: Path) -> None:
        path = tmp_path / "apf.log"
        logs.setup(path, debug=False)
        log = logging.getLogger("x")
        log.info("one")
        path.rename(tmp_path / "apf.log.1")
        log.info("two")
        path.rename(tmp_path / "apf.log.2")
        logs.reopen()
        assert path.exists()
        log.info("three")
        assert [name.read_text()[-6:].strip()[-5:] for name in sorted(tmp_path.iterdir())] == [
            "three",
            "x one",
            "x two",
        ]

    def test_a_log_that_is_gone_for_good_raises_nothing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "log"
        folder.mkdir()
        logs.setup(folder / "apf.log", debug=False)
        (folder / "apf.log").unlink()
        folder.rmdir()
        logging.getLogger("x").warning("still here")
        logs.reopen()
        assert "still here" in capsys.readouterr().err
        folder.mkdir()
        logging.getLogger("x").warning("back")
        assert "back" in (folder / "apf.log").read_text()

    def test_secrets_are_masked_in_tracebacks_too(self, tmp_path: Path) -> None:
        logs.setup(tmp_path / "apf.log", debug=False)
        try:
            raise ValueError("http://me:hunter2@squid:3128 refused")
        except ValueError:
            logging.getLogger("x").exception("header %s", "Bearer abcdefgh.ijk")
        text = (tmp_path / "apf.log").read_text()
        assert "hunter2" not in text
        assert "abcdefgh" not in text

    def test_it_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(OSError, match="No such file"):
            logs.setup(tmp_path / "no" / "apf.log", debug=False)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("http://user:pa@ss@host:1/x", "http://***@host:1/x"),
        ("https://:token@host/", "https://***@host/"),
        ("https://token@host/", "https://***@host/"),
        ("Authorization: Bearer eyJ0eXAi.x.y", "Authorization: Bearer ***"),
        ("got eyJhbGciOi.eyJpc3Mi.c2ln now", "got *** now"),
        ("MY_PASSWORD=x1 next", "MY_PASSWORD=*** next"),
        ("x --password 'a b' --api-token abc -v", "x --password *** --api-token *** -v"),
        ("db_passwd='a b', x", "db_passwd=***, x"),
        ('{"access_token": "abc", "n": 1}', '{"access_token": ***, "n": 1}'),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a *** b"),
    ],
)
def test_masked(text: str, masked: str) -> None:
    assert logs.mask(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "http://squid.example.org:3128/api/v1?x=mail@example.org",
        "BEARER_TOKEN_FILE=/run/user/1/bt_u1",
        "[credential x] token: cannot read /etc/apf/token",
        "activated=40 pending=20",
        "x --token-file /run/t --token-file=/run/t --no-token -v",
        "the bearer is late",
    ],
)
def test_left_alone(text: str) -> None:
    assert logs.mask(text) == text


@given(st.text("abcXYZ019", min_size=1), st.text("abcXYZ019!$%.-", min_size=6))
def test_no_url_password_survives(user: str, password: str) -> None:
    assert password not in logs.mask(f"GET http://{user}:{password}@h/ failed").removeprefix("GET http://***@h/ failed")
