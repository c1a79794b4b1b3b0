from autopyfactory.config.catalogue import WMS
from autopyfactory.config.compare import Difference, difference
from tests.unit.config.fakes import MAIN, QUEUE, Files, Panda


def test_nothing_changed(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}")
    same = difference(files.load(), files.load())
    assert same == Difference()
    assert not same
    assert str(same) == "nothing changed"


def test_queues_that_came_went_and_changed(files: Files) -> None:
    files.write("queues.conf", f"[A]\n{QUEUE}[B]\n{QUEUE}[C]\n{QUEUE}env.X = 1\n[D]\n{QUEUE}")
    old = files.load()
    changed = (
        f"[B]\n{QUEUE}max_pending = 5\nspool = yes\nsubmit.+y = 2\n[C]\n{QUEUE}[D]\n{QUEUE}enabled = no\n[E]\n{QUEUE}"
    )
    files.write("queues.conf", changed)
    new = difference(old, files.load())
    assert new
    assert new.added == ("E",)
    assert (new.removed, new.disabled) == (("A",), ("D",))
    assert new.changed == {"B": ("max_pending", "spool", "submit.+y"), "C": ("env.X",)}
    assert str(new).splitlines() == [
        "queue E added",
        "queue A removed",
        "queue D disabled",
        "queue B changed: max_pending, spool, submit.+y",
        "queue C changed: env.X",
    ]


def test_sections_of_the_main_file(files: Files) -> None:
    more = "[monitor apfmon]\n[schedd a]\n[credential c]\nfile = /c\n"
    files.write("autopyfactory.conf", MAIN + more)
    files.write("queues.conf", "")
    old = files.load()
    more = "[monitor m]\nplugin = apfmon\n[schedd a]\ninterval = 1m\nname = x\n[credential c]\nfile = /d\n"
    files.write("autopyfactory.conf", MAIN.replace("id = test", "id = test\nadmin_email = x") + more)
    assert difference(old, files.load()).sections == {
        "factory": "changed: admin_email",
        "schedd a": "changed: name, interval",
        "monitor apfmon": "removed",
        "monitor m": "added",
        "credential c": "changed: file",
    }


def test_another_plugin_under_the_old_name(files: Files) -> None:
    class Other(Panda):
        class Options(Panda.Options):
            pass

    files.write("queues.conf", "")
    old = files.load()
    assert difference(old, files.load({(WMS, "panda"): Other})).sections == {"wms panda": "changed: plugin"}
