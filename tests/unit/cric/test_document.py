"""What is a CRIC document and what is none; whatever stands in it, reading never fails in another way."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autopyfactory.cric.document import Unusable, read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.sections import harvest

DATA = Path(__file__).parents[2] / "data/cric"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ("nickname", "panda_resource", "queues", "corecount", "maxrss", "cloud", "params", "state", "catchall")
CE_FIELDS = ("ce_endpoint", "ce_flavour", "ce_state", "ce_queue_name", "ce_status")
WORDS = st.sampled_from(["ARC-CE", "ACTIVE", "[", "a:b", "ce:1", "a\nb"])
CE = st.dictionaries(st.sampled_from(CE_FIELDS), JSON | WORDS)
QUEUE = st.dictionaries(st.sampled_from(FIELDS), JSON | st.lists(CE, max_size=3))


def test_three_forms() -> None:
    content = (DATA / "pandaqueues.json").read_bytes()
    entries = json.loads(content)
    assert len(read(content)) == 7
    assert read(json.dumps(list(entries.values())).encode()) == read(content)
    assert list(read((DATA / "LAB_UCORE.all.json").read_bytes())) == ["LAB_UCORE"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html><body>504", "no JSON .* begins with '<html><body>504'"),
        (b'{"A": {"nickname"', "no JSON"),
        (b"", "no JSON"),
        (b"{}", "holds no PanDA queue"),
        (b'{"A": null, "B": 3}', "holds no PanDA queue"),
        (b"3", "neither an object nor a list"),
        (b'{"success": false, "message": "no", "data": {}}', "error message"),
    ],
)
def test_what_is_none(content: bytes, reason: str) -> None:
    with pytest.raises(Unusable, match=reason):
        read(content)


def test_nulls_and_words_cost_nothing() -> None:
    entry = {"nickname": "Q", "corecount": None, "maxrss": "", "maxtime": "long", "memory": "4000.0", "queues": None}
    queue = read(json.dumps({"Q": entry, "R": []}).encode())["Q"]
    assert queue is not None
    assert (queue.corecount, queue.maxrss, queue.maxtime, queue.memory, queue.queues) == (None, None, None, 4000, ())


@given(st.dictionaries(st.text(max_size=6), QUEUE | JSON, max_size=3))
@settings(max_examples=40, deadline=None)
def test_anything_is_read_or_unusable(paper: dict[str, object]) -> None:
    try:
        document = read(json.dumps(paper).encode())
    except Unusable:
        return
    found = harvest(document, CricOptions(url="http://x"))
    for section in found.sections.values():
        assert section.options["wmsqueue"]
        assert int(section.options["cores"]) > 0
        assert all(len(text.splitlines()) == 1 for pair in section.options.items() for text in pair)
