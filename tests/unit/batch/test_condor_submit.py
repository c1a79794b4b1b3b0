import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autopyfactory.batch import Context, Order
from autopyfactory.batch.condor import CondorSchedd
from autopyfactory.batch.condor_rows import CondorQueueOptions
from autopyfactory.batch.condor_submit import render
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.clock import Clock
from autopyfactory.config.models import FactoryOptions, QueueConfig, QueueOptions
from autopyfactory.errors import Refused
from autopyfactory.model import Shape
from autopyfactory.sched.options import RuleOptions

ENVIRONMENT = {
    "PANDA_JSID": "fac-1",
    "APFFID": "fac-1",
    "APFCID": "$(Cluster).$(Process)",
    "FACTORY_JOBID": "host1#$(Cluster).$(Process)",
    "FACTORYQUEUE": "BNL_PROD",
    "FACTORYUSER": "apf",
    "GTAG": "http://logs.test/2026-01-02/BNL_PROD/$(Cluster).$(Process).out",
    "APFMON": "http://mon.test/api",
    "RUCIO_ACCOUNT": "it's me",
}


def factory(**options: Any) -> FactoryOptions:
    return FactoryOptions(**{"id": "fac-1", "host": "host1", "user": "apf"} | options)


def context(position: int = 0, **options: Any) -> Context:
    return Context(factory(**options), Clock(), position)


def queue(type_: str = "vanilla", **submit: str) -> QueueConfig:
    return QueueConfig(
        "BNL_PROD",
        QueueOptions(backend="condor", type=type_),
        CondorQueueOptions(),
        RuleOptions(),
        {"RUCIO_ACCOUNT": "it's me"},
        submit,
    )


ORDER = Order(
    id="s-1",
    queue=queue(),
    endpoint="ap1",
    shape=Shape(8, 16000, 172800, "MCORE"),
    count=3,
    executable=Path("/opt/apf/bootstrap.sh"),
    log_dir=Path("/logs/2026-01-02/BNL_PROD"),
    log_url="http://logs.test/2026-01-02/BNL_PROD",
    monitor_url="http://mon.test/api",
    proxy=Path("/proxies/p1"),
    arguments=("-s", "a b"),
)


def parse_words(text: str) -> list[str]:
    """Read the quoted form as HTCondor does: outer double quotes, single-quoted words, both doubled inside."""
    assert text[0] == text[-1] == '"'
    inner = text[1:-1]
    assert '"' not in inner.replace('""', "")
    words = re.findall(r"'((?:[^']|'')*)'(?: |$)", inner.replace('""', '"'), flags=re.DOTALL)
    return [word.replace("''", "'") for word in words]


def expand(text: str) -> str:
    """Do what submission, and then the start of the pilot, does to `$`."""
    submitted = re.sub(r"(?<!\$)\$\(DOLLAR\)", "$", text)
    return submitted.replace("$$(DOLLARDOLLAR)", "\0").replace("\0", "$$")


def test_description_of_a_local_schedd_attribute_for_attribute() -> None:
    description = render(context(admin_email="apf@example.org"), ORDER)
    environment = dict(word.split("=", 1) for word in parse_words(description.pop("environment")))
    assert environment == ENVIRONMENT
    assert description == {
        "universe": "vanilla",
        "executable": "/opt/apf/bootstrap.sh",
        "arguments": "\"'-s' 'a b'\"",
        "initialdir": "/logs/2026-01-02/BNL_PROD",
        "output": "/logs/2026-01-02/BNL_PROD/$(Cluster).$(Process).out",
        "error": "/logs/2026-01-02/BNL_PROD/$(Cluster).$(Process).err",
        "log": "/logs/2026-01-02/BNL_PROD/$(Cluster).$(Process).log",
        "stream_output": "False",
        "stream_error": "False",
        "notification": "Error",
        "notify_user": "apf@example.org",
        "transfer_executable": "True",
        "should_transfer_files": "IF_NEEDED",
        "leave_in_queue": "JobStatus == 4 && time() - EnteredCurrentStatus < 600",
        "request_cpus": "8",
        "request_memory": "16000",
        "periodic_remove": "(JobStatus == 2 || JobStatus == 6 || JobStatus == 7) "
        "&& time() - JobCurrentStartDate > 172800",
        "x509userproxy": "/proxies/p1",
        "+TransferOutput": '""',
        "+FACTORY_JOBID": '"host1#$(Cluster).$(Process)"',
        "+MATCH_APF_QUEUE": '"BNL_PROD"',
        "+APF_FACTORY": '"fac-1"',
        "+APF_HOST": '"host1"',
        "+APF_QUEUE": '"BNL_PROD"',
        "+APF_ENDPOINT": '"ap1"',
        "+APF_SHAPE": '"8c-16000m-172800s-MCORE"',
        "+APF_SUBMISSION": '"s-1"',
        "+APF_LOGURL": '"http://logs.test/2026-01-02/BNL_PROD/$(Cluster).$(Process).log"',
        "+APF_OUTURL": '"http://logs.test/2026-01-02/BNL_PROD/$(Cluster).$(Process).out"',
        "+APF_ERRURL": '"http://logs.test/2026-01-02/BNL_PROD/$(Cluster).$(Process).err"',
    }


def test_what_is_not_asked_for_is_not_there() -> None:
    bare = replace(ORDER, shape=Shape(), proxy=None, log_url="", monitor_url="", arguments=())
    description = render(context(), bare)
    assert description["notification"] == "Never"
    absent = ("arguments", "notify_user", "request_memory", "periodic_remove", "x509userproxy", "+APF_OUTURL")
    assert not set(absent) & set(description)
    assert "GTAG" not in description["environment"]
    assert "APFMON" not in description["environment"]
    assert description["request_cpus"] == "1"


def test_spooled_pilots_always_transfer_and_name_their_files_relative_to_the_folder() -> None:
    description = render(context(), ORDER, spool=True)
    assert description["should_transfer_files"] == "YES"
    assert description["when_to_transfer_output"] == "ON_EXIT"
    assert description["output"] == "$(Cluster).$(Process).out"
    assert description["initialdir"] == "/logs/2026-01-02/BNL_PROD"
    assert "leave_in_queue" not in description


def test_pilots_of_further_schedds_carry_its_place_in_their_cid() -> None:
    description = render(context(position=2), ORDER)
    environment = dict(word.split("=", 1) for word in parse_words(description["environment"]))
    assert environment["APFCID"] == "2-$(Cluster).$(Process)"
    assert environment["GTAG"].endswith("/2-$(Cluster).$(Process).out")
    assert description["output"].endswith("/2-$(Cluster).$(Process).out")
    assert description["+APF_OUTURL"].endswith('/2-$(Cluster).$(Process).out"')
    assert description["+FACTORY_JOBID"] == '"host1#$(Cluster).$(Process)"'


def test_the_queues_own_lines_come_last_and_override_in_any_case() -> None:
    own = queue(**{"Request_Memory": "2 GB", "+ioIntensity": "1", "requirements": 'Arch == "X86_64"'})
    description = render(context(), replace(ORDER, queue=own))
    assert list(description.items())[-3:] == list(own.submit.items())
    assert "request_memory" not in description


@pytest.mark.parametrize("name", ["+APF_QUEUE", "+apf_factory", "MY.APF_Host", "my.apf_submission"])
def test_a_queue_cannot_hide_its_pilots(name: str) -> None:
    [fault] = CondorSchedd.check_submit({name: '"x"', "+Project": '"x"'})
    assert (fault.option, fault.warning) == (f"submit.{name}", False)
    with pytest.raises(Refused, match=rf"submit\.{re.escape(name)} would hide the pilots"):
        render(context(), replace(ORDER, queue=queue(**{name: '"x"'})))


def test_an_attribute_is_the_same_however_it_is_written() -> None:
    description = render(context(), replace(ORDER, queue=queue(**{"MY.match_apf_queue": '"x"'})))
    assert "+MATCH_APF_QUEUE" not in description
    assert description["MY.match_apf_queue"] == '"x"'


@pytest.mark.parametrize("name", ["environment", "Output", "error", "log"])
def test_lines_that_a_pilot_needs_are_worth_a_warning(name: str) -> None:
    [fault] = CondorSchedd.check_submit({name: "x", "stream_output": "True"})
    assert (fault.option, fault.warning) == (f"submit.{name}", True)
    assert render(context(), replace(ORDER, queue=queue(**{name: "x"})))[name] == "x"


def test_an_unknown_type_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="has no row 'grid'"):
        render(context(), replace(ORDER, queue=queue("grid")))


@pytest.mark.parametrize("word", ["two\nlines", "return\r", "nul\0", "$(DOLLAR)"])
def test_what_no_description_can_carry_is_refused(word: str) -> None:
    with pytest.raises(Refused, match="no submit description can carry"):
        render(context(), replace(ORDER, arguments=(word,)))


@pytest.mark.parametrize(
    ("text", "written"),
    [("a", '"a"'), ('say "x"', '"say \\"x\\""'), ("back\\slash", '"back\\slash"'), ('\\"', '"\\\\""')],
)
def test_strings_of_class_ads(text: str, written: str) -> None:
    assert class_ad_string(text) == written


words = st.text(st.sampled_from("ab $()'\"\\=;#,%ü\tDOLARENV{}[]") | st.characters(exclude_categories=["Cc", "Cs"]))


@given(st.lists(words.filter(lambda word: "$(DOLLAR)" not in word), min_size=1, max_size=5))
def test_any_arguments_survive_quoting(arguments: list[str]) -> None:
    description = render(context(), replace(ORDER, arguments=tuple(arguments)))
    assert [expand(word) for word in parse_words(description["arguments"])] == arguments
