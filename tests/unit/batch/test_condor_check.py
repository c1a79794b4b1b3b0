from importlib.util import find_spec

import pytest

from autopyfactory.batch.condor_check import bindings_version, lacking, problems, refusal, retirement
from autopyfactory.batch.condor_rows import CONDOR_ROWS, CondorQueueOptions
from autopyfactory.config.models import QueueOptions
from tests.unit.batch.test_condor_rows import order

GT2 = CONDOR_ROWS["grid", "gt2"]
CREAM = CONDOR_ROWS["grid", "cream"]
GLOBUS = "use backend = globus, or a schedd of 9.0.1 or older"


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("25.14.1", f"HTCondor 25.14 does not submit gt2: {GLOBUS}"),
        ("9.0.2", f"HTCondor 9.0.2 does not submit gt2: {GLOBUS}"),
        ("9.0.1", ""),
        ("8.8.17", ""),
        ("10.0.0", f"HTCondor 10.0 does not submit gt2: {GLOBUS}"),
        ("", ""),
    ],
)
def test_who_still_submits_gt2(version: str, said: str) -> None:
    assert retirement(GT2, "gt2", version) == said


def test_who_still_submits_cream() -> None:
    assert retirement(CREAM, "cream", "8.9.13") == ""
    assert retirement(CREAM, "cream", "9.0.0") == "HTCondor 9.0.0 does not submit cream: use a schedd older than 9.0.0"


def test_a_refusal_names_the_schedd_or_else_the_bindings() -> None:
    assert refusal(order("gt2", "gk").queue, "24.1.0").startswith("HTCondor 24.1 does not submit gt2")
    assert refusal(order("gt2", "gk").queue, "").startswith(f"HTCondor {bindings_version().rsplit('.', 1)[0]} ")
    assert refusal(order("arc", "ce").queue, "25.14.1") == ""


def judged(subtype: str, endpoint: str = "", token: str = "", proxy: str = "", **options: str) -> list[str]:
    common = {"backend": "condor", "type": "grid" if subtype else "vanilla", "subtype": subtype}
    values = QueueOptions(**common, endpoint=endpoint, token=token, proxy=proxy, batchqueue="q")
    return list(problems(values, CondorQueueOptions(**options), {}))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (judged("condor"), ["endpoint: is missing, condor grid condor needs it: write 'endpoint = ...'"]),
        (judged("condor", "ce1, ce2:9619"), []),
        (judged("condor", "cm", remote_schedd="s@b"), []),
        (
            judged("condor", "ce1, c e"),
            ["endpoint: 'c e' cannot be such an endpoint, write for example ce1.example.org:9619"],
        ),
        (judged("arc", "ce1"), ["token: is missing, condor grid arc needs a token or a proxy"]),
        (judged("arc", "ce1", token="/t"), []),
        (judged("arc", "ce1", proxy="/p"), []),
        (judged("slurm"), []),
        (judged("slurm", lrms="pbs"), ["warning: lrms: is never read, it does not belong to condor grid slurm"]),
        (judged("", "ce1"), ["warning: endpoint: is never read, condor vanilla submits to the schedd itself"]),
        (judged("nordugrid", "ce1"), []),
    ],
)
def test_what_is_said_of_a_section(found: list[str], said: list[str]) -> None:
    assert found == said


def test_the_old_types_are_warned_of_and_need_a_proxy() -> None:
    found = judged("cream", "ce1")
    assert found[:2] == [
        "lrms: is missing, condor grid cream needs it: write 'lrms = ...'",
        "proxy: is missing, condor grid cream needs a proxy",
    ]
    assert found[2].startswith("warning: HTCondor 2")


@pytest.mark.skipif(find_spec("htcondor2") is None, reason="no bindings")
def test_what_this_host_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONDOR_CONFIG", "ONLY_ENV")
    assert lacking("grid", "condor").startswith("no schedd runs on this host")
    assert lacking("grid", "gt5").endswith(f"does not submit gt5: {GLOBUS}")
