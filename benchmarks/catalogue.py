"""A site catalogue becomes queues: 400 PanDA queues read, chosen, judged as sections; beside parsing their JSON."""

import json
import tempfile
from pathlib import Path

from autopyfactory.config.loader import load
from autopyfactory.cric.document import read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.sections import harvest
from autopyfactory.cric.store import Store
from benchmarks.decide import side_by_side
from benchmarks.table import show, times

QUEUES = 400
CES = 2
OPTIONS = CricOptions(url="http://cric.example.org/queues.json")

MAIN = """\
[factory]
id = benchmark
state_dir = {home}/state
[wms panda]
url = http://panda.example.org
[cric lab]
url = http://cric.example.org/queues.json
"""
DEFAULT = "[DEFAULT]\nwms = panda\nrules = ready, min_per_cycle\nmin_per_cycle = 1\n"


def document() -> bytes:
    """Return a document as CRIC writes it: of a queue's hundred fields most mean nothing to a factory."""
    filler = {f"field_{k}": "a value that nobody here reads" for k in range(60)}
    ces = [
        {"ce_endpoint": f"ce{k}.example.org:9619", "ce_flavour": "HTCONDOR-CE", "ce_state": "ACTIVE"}
        for k in range(CES)
    ]
    entry = filler | {"type": "unified", "corecount": 8, "maxrss": 16000, "maxtime": 345600, "queues": ces}
    return json.dumps({f"SITE_{k}": entry | {"panda_resource": f"SITE_{k}"} for k in range(QUEUES)}).encode()


def main() -> None:
    """Measure and print."""
    content = document()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        (home / "autopyfactory.conf").write_text(MAIN.format(home=home))
        (home / "queues.conf").write_text(DEFAULT)
        Store("lab", OPTIONS, home / "state").keep(content)
        config = load(home / "autopyfactory.conf")
        plain, chosen, whole = side_by_side(
            lambda: json.loads(content),
            lambda: harvest(read(content), OPTIONS),
            lambda: load(home / "autopyfactory.conf"),
        )
    show(
        f"{QUEUES} PanDA queues of {CES} CEs, {len(content) / 1e6:.1f} MB, make {len(config.queues)} queues",
        ["", "seconds", "time : JSON"],
        [
            ["JSON parsed, nothing more", f"{plain:.3f}", times(1.0)],
            ["read and chosen", f"{chosen:.3f}", times(chosen / plain)],
            ["the whole configuration loaded and judged", f"{whole:.3f}", times(whole / plain)],
        ],
    )


if __name__ == "__main__":
    main()
