from pathlib import Path

from autopyfactory.batch.rows import written
from autopyfactory.cli.reference import page
from autopyfactory.config.catalogue import BATCH, MONITOR, WMS
from autopyfactory.config.sentences import declared
from autopyfactory.plugins import ALIASES
from autopyfactory.sched import RULES
from autopyfactory.sched.options import RuleOptions
from tests.unit.cli.test_check import run
from tests.unit.config.fakes import ScheddOptions, catalogue

SHIPPED = Path(__file__).parents[3] / "docs" / "reference.md"


def test_the_shipped_page_is_what_the_declarations_say() -> None:
    result = run("reference")
    assert result.exit_code == 0
    assert result.stdout == SHIPPED.read_text(), "run 'autopyfactory reference > docs/reference.md' and commit it"


def test_every_plugin_and_option_is_there() -> None:
    text = page(catalogue())
    for name in declared(ScheddOptions):
        assert f"| `{name}` |" in text
    assert "### `[controller NAME]`, for queues with `backend = strict`" in text
    assert "plugin = broken" not in text
    assert "| `max_submit_rate` |  | rate (20/s, 100/m) | `none` |" in text
    for name, rule in RULES.items():
        assert f"#### {rule.kind} `{name}`\n" in text
        assert rule.formula and rule.example and rule.unknown
        assert rule.formula[1:] in text and f"Example: {rule.example}." in text and f"Unknown: {rule.unknown}." in text
    for name in declared(RuleOptions):
        assert text.count(f"| `{name}` |") == 1


def test_all_shipped_plugins_are_on_the_page() -> None:
    text = SHIPPED.read_text()
    for group in (WMS, MONITOR):
        for name in ALIASES[group]:
            assert f"plugin = {name}" in text
    for name in ALIASES[BATCH]:
        assert written(name) in text
