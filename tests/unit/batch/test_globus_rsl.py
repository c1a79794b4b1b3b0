"""GRAM's job description: quoting, what a pilot asks for, and the script that travels inside."""

import base64
import gzip
import random
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch import Order
from autopyfactory.batch.globus_rsl import GlobusQueueOptions, hiding, quoted, request, restart
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.errors import Refused
from autopyfactory.model import Shape
from autopyfactory.sched.options import RuleOptions


def order(shape: Shape | None = None, submit: dict[str, str] | None = None, **backend: str) -> Order:
    section = QueueOptions(backend="globus", type="gt5", batchqueue="short", endpoint="gk")
    queue = QueueConfig("Q", section, GlobusQueueOptions(**backend), RuleOptions(), {}, submit or {})
    return Order("s1", queue, "gk", shape or Shape(), 1, Path("/wrapper"), Path("/logs/Q"))


def asks(one: Order) -> str:
    return request(one, "#!/bin/sh\n", "c.0").partition("(save_state=yes)")[2]


def test_a_pilot_asks_as_the_classic_did() -> None:
    assert asks(order()) == "(queue=short)(jobtype=single)"
    assert asks(order(Shape(8, 16000, 3601))) == (
        "(queue=short)(jobtype=single)(xcount=8)(host_xcount=1)(maxMemory=16000)(maxWallTime=61)"
    )


def test_a_queue_has_its_own_words() -> None:
    assert asks(order(submit={"job_type": "mpi", "maxCpuTime": "5"}, account="atlas")) == (
        "(queue=short)(project=atlas)(job_type=mpi)(maxCpuTime=5)"
    )
    assert asks(order(globusrsl="(queue=x)", globusrsl_add="(a=b)", submit={"c": "d e"})) == '(queue=x)(c="d e")(a=b)'
    assert asks(order(output_url="gsiftp://ftp.example.org/")).endswith(
        "(stdout=gsiftp://ftp.example.org/logs/Q/c.0.out)(stderr=gsiftp://ftp.example.org/logs/Q/c.0.err)"
    )
    assert "stderr=" not in asks(order(output_url="https://x:1", submit={"stderr": ""}))


@pytest.mark.parametrize(
    ("submit", "rsl", "name"),
    [
        ({"count": "5"}, "", "count"),
        ({"Two_Phase": "5"}, "", "Two_Phase"),
        ({}, "( executable = /bin/true)", "executable"),
        ({}, '(queue=x)("arguments"=y)', "arguments"),
        ({"hostCount": "5"}, "(environment=(A B))", ""),
    ],
)
def test_attributes_that_make_a_job_a_pilot_of_ours(submit: dict[str, str], rsl: str, name: str) -> None:
    for options in (GlobusQueueOptions(globusrsl=rsl), GlobusQueueOptions(globusrsl_add=rsl)):
        assert hiding(options, submit) == name
    if name:
        with pytest.raises(Refused, match=name):
            request(order(submit=submit, globusrsl=rsl), "", "c.0")


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_quoted_text_is_one_value_and_comes_back(value: str) -> None:
    text = quoted(value)
    if text != value:
        assert re.fullmatch(r'"(?:[^"]|"")*"', text)
        assert text[1:-1].replace('""', '"') == value
    else:
        assert not set(text) & set(" \"'()&=+|<>#$^\n") and text


def test_the_script_travels_inside_and_a_plain_shell_unpacks_it() -> None:
    script = "#!/bin/sh\nprintf '%s|' \"it's\" 'a  b' \"${APF_SCRIPT-none}\"\ncat <<'E'\n$x `y` \\z\nE\nexit 7\n"
    text = request(order(), script, "c.0")
    found = re.fullmatch(r'&\(executable=/bin/sh\)\(arguments=-c "(.*)"\)\(environment=\((\w+) (.*?)\)\)\(two.*', text)
    assert found is not None
    packed = found[3].strip('"')
    assert gzip.decompress(base64.b64decode(packed)).decode() == script
    argv = ["/bin/sh", "-c", found[1].replace('""', '"')]
    environment = {"PATH": "/usr/bin:/bin", found[2]: packed}
    ran = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=20)
    assert (ran.returncode, ran.stdout) == (7, "it's|a  b|none|$x `y` \\z\n")


def test_what_gram_cannot_carry() -> None:
    noise = random.Random(1).randbytes(60_000).hex()
    with pytest.raises(Refused, match="GRAM takes 60000"):
        request(order(), noise, "c.0")
    with pytest.raises(Refused, match="NUL"):
        request(order(submit={"x": "\0"}), "", "c.0")


def test_a_request_to_take_a_job_up_again() -> None:
    assert restart("https://gk:1/2/3/") == "&(restart=https://gk:1/2/3/)"
