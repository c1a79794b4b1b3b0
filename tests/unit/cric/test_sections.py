"""Which CE queues become sections, with which options; each that is left out has its reason."""

from pathlib import Path
from typing import Any

import pytest

from autopyfactory.cric.document import PandaQueue, read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.sections import Harvest, harvest

DATA = Path(__file__).parents[2] / "data/cric"


def ce(**more: str) -> dict[str, str]:
    return {
        "ce_endpoint": "ce1.example.org:9619",
        "ce_flavour": "HTCONDOR-CE",
        "ce_state": "ACTIVE",
        "ce_status": "Production",
        "ce_queue_name": "default",
    } | more


def queue(*ces: dict[str, str], **more: object) -> PandaQueue:
    said: dict[str, Any] = {"panda_resource": "Q", "state": "ACTIVE", "queues": list(ces or (ce(),))}
    return PandaQueue.model_validate(said | more)


def made(entry: PandaQueue | None, **options: object) -> Harvest:
    return harvest({"Q": entry}, CricOptions.model_validate({"url": "http://cric"} | options))


def test_a_document() -> None:
    document = read((DATA / "pandaqueues.json").read_bytes())
    found = harvest(document, CricOptions(url="http://cric", skip=("LAB_TEST",)))
    assert len(found.sections) == 7
    assert found.left_out == (
        ("LAB_TEST", "skip names it"),
        ("LAB_TWOCE at ce03.lab.example", "ce_state is 'DISABLED', not ACTIVE"),
    )
    assert found.sections["LAB_TWOCE-ce02.lab.example"].options == {
        "wmsqueue": "LAB_TWOCE",
        "backend": "condor",
        "type": "grid",
        "subtype": "arc",
        "endpoint": "ce02.lab.example:443",
        "batchqueue": "atlas",
        "cores": "8",
        "memory": "16000MB",
        "walltime": "345600s",
        "transferring_limit": "2000",
    }


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ({}, {"subtype": "condor", "endpoint": "ce1.example.org:9619"}),
        ({"ce_endpoint": "https://CE1.example.org"}, {"endpoint": "ce1.example.org:9619"}),
        ({"ce_flavour": "ARC-CE", "ce_endpoint": "ce1.example.org:2811"}, {"endpoint": "ce1.example.org:443"}),
        ({"ce_flavour": "ARC-CE", "ce_endpoint": "https://ce1:8443/arex"}, {"subtype": "arc", "endpoint": "ce1:8443"}),
        (
            {"ce_flavour": "CREAM-CE", "ce_endpoint": "ce1", "ce_jobmanager": "pbs", "ce_queue_name": "long"},
            {"subtype": "cream", "endpoint": "ce1:8443", "lrms": "pbs", "batchqueue": "long"},
        ),
        (
            {"ce_flavour": "GLOBUS", "ce_endpoint": "gk1:2119", "ce_jobmanager": "jobmanager-pbs"},
            {"backend": "globus", "type": "gt5", "endpoint": "gk1:2119/jobmanager-pbs"},
        ),
    ],
)
def test_flavours(said: dict[str, str], options: dict[str, str]) -> None:
    (section,) = made(queue(ce(**said))).sections.values()
    assert options.items() <= section.options.items()


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ({"corecount": None}, {"cores": "1"}),
        ({"corecount": 8, "maxrss": 2000, "catchall": "a,per_core_attr"}, {"cores": "8", "memory": "16000MB"}),
        ({"corecount": 8, "maxrss": 16000, "maxmemory": 1}, {"memory": "16000MB"}),
        ({"maxrss": 0, "maxmemory": 3000}, {"memory": "3000MB"}),
        ({"maxtime": 3600}, {"walltime": "3600s"}),
        ({"params": {"jdl.plusattr.Group": '"a%b"', "other": "x"}}, {"submit.+Group": '"a%%b"'}),
        ({"panda_resource": "", "nickname": "N"}, {"wmsqueue": "N"}),
    ],
)
def test_shape(said: dict[str, object], options: dict[str, str]) -> None:
    (section,) = made(queue(**said)).sections.values()
    assert options.items() <= section.options.items()


@pytest.mark.parametrize(
    ("said", "options", "reason"),
    [
        ({"vo_name": "cms"}, {"vo": ("atlas",)}, "vo_name is 'cms', vo wants atlas"),
        ({"cloud": "US,CA"}, {"cloud": ("de", "fr")}, "cloud is 'US,CA', cloud wants de, fr"),
        ({"panda_site": "X"}, {"site": ("Y",)}, "its site is 'X', site wants Y"),
        ({"type": "analysis"}, {"activity": ("production",)}, "type is 'analysis'"),
        ({"pilot_manager": "Harvester"}, {"pilot_manager": ("apf",)}, "pilot_manager is 'Harvester'"),
        ({}, {"queues": ("R*",)}, "no name or pattern of queues"),
        ({"resource_type": "cloud"}, {}, "resource_type is 'cloud'"),
        ({"state": "DISABLED"}, {}, "state is 'DISABLED'"),
        ({"site_state": "DISABLED"}, {}, "site_state is 'DISABLED'"),
        ({"queues": []}, {}, "no CE queue is named"),
    ],
)
def test_queues_left_out(said: dict[str, object], options: dict[str, object], reason: str) -> None:
    found = made(queue(**said), **options)
    assert not found.sections
    ((name, text),) = found.left_out
    assert name == "Q"
    assert reason in text


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"ce_endpoint": ""}, "no ce_endpoint"),
        ({"ce_endpoint": "ce1:port"}, "ce_endpoint 'ce1:port' is no host and port"),
        ({"ce_endpoint": "h:99999"}, "ce_endpoint 'h:99999' is no host and port"),
        ({"ce_flavour": "LCG-CE"}, "nothing here submits to a CE of flavour 'LCG-CE'"),
        ({"ce_state": ""}, "ce_state is ''"),
        ({"ce_status": "Test"}, "ce_status is 'Test'"),
        ({"ce_queue_status": "Draining"}, "ce_queue_status is 'Draining'"),
    ],
)
def test_ces_left_out(said: dict[str, str], reason: str) -> None:
    found = made(queue(ce(**said)))
    assert not found.sections
    assert reason in found.left_out[0][1]


def test_names_stay_apart() -> None:
    found = made(queue(ce(ce_queue_name="a b"), ce(ce_queue_name="c"), ce(ce_queue_name="a,b"), ce(ce_queue_name="c")))
    assert list(found.sections) == ["Q-ce1.example.org", "Q-ce1.example.org-c", "Q-ce1.example.org-a_b"]
    assert found.left_out == (("Q at ce1.example.org", "stands twice in the document"),)


def test_a_queue_that_comes_beside_another_leaves_its_name() -> None:
    one, other = ce(ce_queue_name="short"), ce(ce_queue_name="long")
    [before] = made(queue(one)).sections.values()
    assert before in made(queue(one, other)).sections.values()


@pytest.mark.parametrize("said", [{"ce_queue_status": "Closed"}, {"ce_state": "DISABLED"}, {"ce_flavour": "LCG-CE"}])
def test_a_queue_that_closes_leaves_its_name_to_nobody(said: dict[str, str]) -> None:
    short, long = ce(ce_queue_name="short"), ce(ce_queue_name="long")
    before = made(queue(short, long)).sections
    after = made(queue(short | said, long)).sections
    assert list(before) == ["Q-ce1.example.org", "Q-ce1.example.org-long"]
    assert after == {"Q-ce1.example.org-long": before["Q-ce1.example.org-long"]}


def test_names_heed_neither_the_order_nor_the_filters() -> None:
    old, new = ce(ce_queue_name="short", ce_queue_id="7"), ce(ce_queue_name="long", ce_queue_id="12")
    first, second = queue(new, type="production"), queue(old, type="analysis")
    both = {"P": first, "A": second}
    options = CricOptions(url="http://cric")
    before = harvest(both, options).sections
    assert set(before) == {"Q-ce1.example.org", "Q-ce1.example.org-long"}
    assert before["Q-ce1.example.org"].options["batchqueue"] == "short"
    assert harvest(dict(reversed(both.items())), options).sections == before
    filtered = harvest(both, CricOptions(url="http://cric", activity=("production",))).sections
    assert filtered == {"Q-ce1.example.org-long": before["Q-ce1.example.org-long"]}


def test_a_name_that_another_one_has_gets_a_number() -> None:
    one, two = ce(ce_endpoint="a-b"), ce(ce_endpoint="a", ce_queue_name="b")
    found = made(queue(one, ce(ce_endpoint="a"), two))
    assert list(found.sections) == ["Q-a-b", "Q-a", "Q-a-b-2"]


def test_doubts() -> None:
    found = made(queue(pilot_manager="Harvester", workflow="push_atlas"))
    assert len(found.sections) == 1
    assert [text.partition(":")[0] for _, text in found.warnings] == [
        "its pilot_manager is 'Harvester'",
        "it works by push ('push_atlas')",
    ]
    assert not made(queue(pilot_manager="apf", workflow="pull_ups")).warnings


def test_an_entry_that_is_none() -> None:
    assert made(None).left_out == (("Q", "its entry is no object"),)
    odd = {"queues": {"q1": ce(), "q2": "junk", "q3": None}}
    found = made(queue(**odd))
    assert list(found.sections) == ["Q-ce1.example.org"]
    assert found.left_out == (("Q at a CE without a name", "its entry is no object"),) * 2


def test_a_line_break_ends_no_line() -> None:
    said = {"panda_resource": "Q\r\nR", "params": {"jdl.plusattr.A\nB": "x\ny"}}
    (section,) = made(queue(ce(ce_queue_name="a\nb"), **said)).sections.values()
    assert section.options["batchqueue"] == "a b"
    assert not any("\n" in text for pair in section.options.items() for text in pair)
