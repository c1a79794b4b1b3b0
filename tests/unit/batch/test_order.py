"""From a decision to an order."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.batch.order import endpoints_of, folder_name, make_order, shape_of
from autopyfactory.batch.wrapper import wrapper_path
from autopyfactory.config.models import Config, FactoryOptions
from autopyfactory.model import Shape
from tests.unit.world import START, make_queue


def config(**factory: Any) -> Config:
    options = FactoryOptions(id="F", pilot_log_dir="/pilots", **factory)
    return Config(Path("/etc/apf.conf"), options, {}, {}, {}, {}, {})


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({}, Shape()),
        (
            {"cores": 8, "memory": "16GB", "walltime": "48h", "resource_types": "MCORE"},
            Shape(8, 16000, 172800, "MCORE"),
        ),
        ({"resource_types": "SCORE, MCORE", "labels": "user, managed"}, Shape()),
        ({"labels": "user"}, Shape(label="user")),
    ],
)
def test_shape(options: dict[str, Any], shape: Shape) -> None:
    assert shape_of(make_queue("Q", **options)) == shape


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ()),
        ({"labels": "ptest"}, ("-i", "RC")),
        ({"labels": "ptest, rc_test"}, ("-i", "RC")),
        ({"labels": "ptest, user"}, ()),
        ({"labels": "ptest, user", "releases": "ptest:RC, *:PR"}, ("-i", "PR")),
        ({"releases": "ptest:RC, *:PR"}, ("-i", "PR")),
        ({"labels": "managed", "releases": "ptest:RC, *:PR"}, ("-i", "PR")),
        ({"labels": "ptest", "releases": ""}, ()),
        (
            {"country": "uk", "group": "AP_Higgs", "allow_other_country": "yes"},
            ("--country-group", "uk", "--working-group", "AP_Higgs", "--allow-other-country", "True"),
        ),
        (
            {"country": "uk", "group": "AP_Higgs", "allow_other_country": "yes", "pilot_options": "classic"},
            ("-o", "uk", "-v", "AP_Higgs", "-A", "True"),
        ),
    ],
)
def test_what_the_pilot_is_told(options: dict[str, Any], words: tuple[str, ...]) -> None:
    order = make_order(config(), make_queue("Q", arguments="-q X", **options), "s1", 1, START, endpoint="ce")
    assert order.arguments == ("-q", "X", *words)


def test_pilots_of_a_type_ask_for_jobs_of_it() -> None:
    by_type: dict[str, dict[str, object]] = {"SCORE": {"cores": 1}, "GPU": {"cores": 8}}
    score, gpu = make_queue("Q", by_type=by_type).parts
    orders = [make_order(config(), part, "s1", 1, START, endpoint="ce") for part in (score, gpu)]
    assert [order.arguments for order in orders] == [("--resource-type", "SCORE"), ()]
    classic = make_queue("Q", by_type=by_type, pilot_options="classic").parts[0]
    assert make_order(config(), classic, "s1", 1, START, endpoint="ce").arguments == ()


def test_folder_of_a_queue() -> None:
    assert folder_name("A/B:C-d.e") == "A_B_C-d.e"


def test_an_order_that_names_nothing() -> None:
    order = make_order(config(), make_queue("A/B"), "s1", 7, START, endpoint="ce")
    assert (order.id, order.count, order.endpoint, order.log_url, order.proxy) == ("s1", 7, "ce", "", None)
    assert order.log_dir == Path("/pilots/2023-11-14/A_B")
    assert order.executable == wrapper_path()
    assert order.arguments == ()


def test_the_folder_is_dated_in_utc() -> None:
    late = START + 2 * 3600
    assert make_order(config(), make_queue("Q"), "s", 1, late, endpoint="").log_dir.parent.name == "2023-11-15"


def test_an_order_that_names_all() -> None:
    queue = make_queue("Q", executable="/opt/wrapper", arguments="-q X --note 'two words'")
    given = config(pilot_log_url="http://logs/")
    order = make_order(given, queue, "s1", 1, START, endpoint="ce", monitor_url="http://mon/api")
    assert order.log_url == "http://logs/2023-11-14/Q"
    assert order.executable == Path("/opt/wrapper")
    assert order.arguments == ("-q", "X", "--note", "two words")
    assert order.monitor_url == "http://mon/api"
    assert replace(order, count=2).count == 2


@pytest.mark.parametrize(
    ("options", "places"),
    [
        ({"type": "vanilla"}, ()),
        ({"type": "grid", "subtype": "slurm"}, ("slurm@ap1",)),
        ({"type": "grid", "subtype": "arc", "endpoint": "ce1, ce2"}, ("ce1", "ce2")),
    ],
)
def test_a_batch_system_behind_a_schedd_is_an_endpoint_of_its_own(
    options: dict[str, Any], places: tuple[str, ...]
) -> None:
    assert endpoints_of(make_queue("Q", **{"backend": "condor"} | options), "ap1") == places
