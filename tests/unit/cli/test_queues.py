"""`autopyfactory queues`: what a document makes, as sections that could stand in a file."""

from pathlib import Path

from autopyfactory.config import ini
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.store import Store
from tests.unit.cli.test_check import run

DATA = Path(__file__).parents[2] / "data/cric/pandaqueues.json"


def test_from_a_file(tmp_path: Path) -> None:
    done = run("queues", "--from", str(DATA), "--activity", "unified", "--skip", "*OFF*")
    assert done.exit_code == 0, done.output
    assert "; left out: LAB_ANALY: type is 'analysis', activity wants unified" in done.output
    assert "; left out: LAB_OFFLINE: skip names it" in done.output
    assert "; warning: LAB_UCORE: its pilot_manager is 'Harvester'" in done.output
    path = tmp_path / "queues.conf"
    path.write_text(done.output)
    file = ini.read(path)
    assert not file.faults
    assert "LAB_TWOCE-ce02.lab.example" in [block.name for block in file.blocks]
    assert done.output.startswith(f"; {DATA}: 7 PanDA queues make {len(file.blocks)} queues, ")


def test_of_the_configuration(tmp_path: Path) -> None:
    conf = tmp_path / "autopyfactory.conf"
    conf.write_text(f"[factory]\nid = test\nstate_dir = {tmp_path}\n[cric lab]\nurl = http://x\nqueues = *UCORE\n")
    done = run("queues", "--conf", str(conf))
    assert done.exit_code == 1
    assert "[cric lab]: there is no document yet, the running factory fetches it; look at it now" in done.output
    Store("lab", CricOptions(url="http://x"), tmp_path).keep(DATA.read_bytes())
    assert "[LAB_UCORE-ce01.lab.example]" in run("queues", "--conf", str(conf)).output
    with_filters = run("queues", "--conf", str(conf), "--name", "lab", "--from", str(DATA))
    assert "; left out: LAB_ANALY: no name or pattern of queues matches it" in with_filters.output
    conf.write_text(f"[factory]\nid = test\nstate_dir = {tmp_path}\n[cric lab]\nfile = {tmp_path}/nothing\n")
    done = run("queues", "--conf", str(conf))
    said = f"there is no file {tmp_path}/nothing, correct file or put the document there"
    assert done.output == f"Error: [cric lab]: {said}\n"


def test_mistakes(tmp_path: Path) -> None:
    conf = tmp_path / "autopyfactory.conf"
    conf.write_text("[factory]\nid = test\n")
    assert "name a document by --from" in run("queues", "--conf", str(conf)).output
    assert "there is no section [cric x]" in run("queues", "--conf", str(conf), "--name", "x").output
    assert "filters belong to --from" in run("queues", "--conf", str(conf), "--vo", "atlas").output
    assert "cannot be read: no such file" in run("queues", "--from", str(tmp_path / "nothing")).output
    conf.write_text("[factory]\n")
    assert run("queues", "--conf", str(conf)).exit_code == 2
