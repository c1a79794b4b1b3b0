"""Tables by resource type."""

import pytest

from autopyfactory.batch.order import shape_of
from autopyfactory.config.by_type import written
from autopyfactory.config.compare import settings
from autopyfactory.config.models import QueueConfig
from tests.unit.config.fakes import MAIN, QUEUE, Files

TABLES = "cores = SCORE:1, MCORE:8\nmemory = SCORE:2GB, *:16GB\nwalltime = *:12h\n"


def loaded(files: Files, text: str) -> QueueConfig:
    files.write("autopyfactory.conf", MAIN + "[schedd local]\n")
    files.write("queues.conf", f"[Q]\n{QUEUE}{text}")
    config = files.load()
    assert [str(problem) for problem in config.problems] == []
    return config.queues["Q"]


def tags(queue: QueueConfig) -> list[str]:
    return [shape_of(part).tag() for part in queue.parts]


def test_a_queue_of_two_types(files: Files) -> None:
    queue = loaded(files, TABLES)
    assert tags(queue) == ["1c-2000m-43200s-SCORE", "8c-16000m-43200s-MCORE"]
    assert (queue.options.cores, queue.options.resource_types) == (8, ("SCORE", "MCORE"))
    assert [part.claim for part in queue.parts] == ["Q:SCORE", "Q:MCORE"]
    assert {part.name for part in queue.parts} == {"Q"}
    assert written(queue) == {
        "cores": "SCORE:1, MCORE:8",
        "memory": "SCORE:2GB, MCORE:16GB",
        "walltime": "SCORE:12h, MCORE:12h",
    }
    assert settings(queue)["cores"] == {"SCORE": 1, "MCORE": 8}


def test_resource_types_choose_from_a_table(files: Files) -> None:
    assert tags(loaded(files, f"resource_types = MCORE\n{TABLES}")) == ["8c-16000m-43200s-MCORE"]
    assert not loaded(files, f"resource_types = MCORE\n{TABLES}").by_type
    queue = loaded(files, "resource_types = SCORE, MCORE, MCORE_HIMEM\ncores = SCORE:1, *:8\nmemory_per_core = 2GB")
    assert tags(queue) == ["1c-2000m-SCORE", "8c-16000m-MCORE", "8c-16000m-MCORE_HIMEM"]


def test_a_split_without_a_table(files: Files) -> None:
    assert tags(loaded(files, "resource_types = A, B\nsplit = yes\nmemory_per_core = A:1GB, B:2GB")) == [
        "1c-1000m-A",
        "1c-2000m-B",
    ]
    assert tags(loaded(files, "resource_types = A, B\nsplit = no")) == ["1c"]
    assert tags(loaded(files, "resource_types = A, B\nmemory = A:none, B:2GB")) == ["1c-A", "1c-2000m-B"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("split = yes", "split: which types? name them in resource_types"),
        ("split = often", "split: 'often' is neither yes nor no"),
        ("cores = *:8", "cores: which types? name them in resource_types"),
        ("cores = SCORE:1, MCORE", "cores: 'MCORE' is not TYPE:VALUE, write for example SCORE:..., MCORE:..."),
        ("cores = SCORE:1, SCORE:2", "cores: names 'SCORE' twice, take one away"),
        ("cores = SCORE:1, MCORE:many", "cores: 'many' is no whole number"),
        ("cores = SCORE:1, MCORE:0", "cores: '0' is too little, write 1 or more"),
        (
            "cores = A:1, B:8\nmemory = A:1GB",
            "memory: says nothing of 'B', add 'B:...', or '*:...' for all others",
        ),
        (
            "memory = 2GB\nmemory_per_core = 1GB",
            "memory_per_core: warning: is never read, for memory is set; write 'memory = none' here",
        ),
    ],
)
def test_mistakes(files: Files, text: str, problem: str) -> None:
    files.write("autopyfactory.conf", MAIN + "[schedd local]\n")
    files.write("queues.conf", f"[Q]\n{QUEUE}{text}\n")
    config = files.load()
    assert any(str(found).endswith(f"[Q] {problem}") for found in config.problems), [str(p) for p in config.problems]


def test_a_queue_of_two_types_that_lacks_its_backend_is_out_for_that_alone(files: Files) -> None:
    files.write("autopyfactory.conf", MAIN)
    files.write("queues.conf", f"[Q]\n{TABLES}rules = fixed\nfixed = 1\n")
    config = files.load()
    assert not config.queues
    assert [str(found).partition("[Q] ")[2][:19] for found in config.problems] == ["backend: is missing"]
