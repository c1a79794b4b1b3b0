"""`autopyfactory reference`: every option there is, as a page in Markdown, from the declarations themselves."""

from collections.abc import Iterable, Iterator, Sequence

import click
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from autopyfactory.batch.rows import ROWS, written
from autopyfactory.config.catalogue import BATCH, MONITOR, WMS, Broken, Catalogue, rule_of
from autopyfactory.config.fields import Options, kind, write
from autopyfactory.config.models import CredentialOptions, FactoryOptions, HeldOptions, QueueOptions
from autopyfactory.config.sentences import declared
from autopyfactory.cric.options import CricOptions
from autopyfactory.plugins import ALIASES
from autopyfactory.sched import RULES
from autopyfactory.sched.options import RuleOptions

_HEAD = """\
# Reference of options

This page is printed by `autopyfactory reference` from the declarations that `autopyfactory check` uses.

- The main file, `/etc/apf/autopyfactory.conf` or what `--conf FILE` and `$APF_CONF` say, holds `[factory]` and one
  section per source, WMS, monitor and credential.
- `queues.conf` and `queues.d/*.conf` beside it hold one section per queue. `[DEFAULT]` in `queues.conf` serves all of
  them; an option of a backend or rule that some queues do not use does no harm there.
- `%(option)s` stands for the value of another option of the section or of `[DEFAULT]`; a percent sign is written `%%`.
- `#` and `;` begin a comment line, `;` after a blank also a comment at the end of a line. The case of names matters.
- Durations: `90s`, `10m`, `1h30m`, `2d`. Sizes: `500MB`, `16GB`, `2GiB`. Rates: `20` or `20/s`, `100/m`, `5/h`. Lists
  are separated by commas. Booleans: `yes` or `no`.
- `~` at the beginning of an absolute path is the home directory (in the passwd database) of the account that a command
  acts as, for `run --runas USER` that of USER; `$HOME`, which `su` and `sudo` may leave as it was, means nothing.
- `none` takes back an option whose default is `none`, for example in a queue what `[DEFAULT]` sets.
- `env.NAME = value` goes into the environment of the pilots; `submit.X = value` and `submit.+Attribute = value` go into
  the submit description as they are; the backend `fork` has none.
"""


@click.command(short_help="Print the reference page of all options.")
def reference() -> None:
    """Print the reference of all options as Markdown."""
    click.echo(page(Catalogue(names=lambda group: sorted(ALIASES[group]))), nl=False)


def page(catalogue: Catalogue) -> str:
    """Return the page for the plug-ins of the catalogue."""
    parts = [_HEAD, "## Main file\n"]
    parts += _section("`[factory]`", FactoryOptions)
    for group, word in ((WMS, "wms"), (MONITOR, "monitor")):
        for name in catalogue.names(group):
            plugin = catalogue.find(group, name)
            if not isinstance(plugin, Broken):
                parts += _section(f"`[{word} NAME]` with `plugin = {name}`", plugin.Options)
    for word, backend in catalogue.source_kinds.items():
        parts += _section(
            f"`[{word} NAME]`, for queues with `{written(backend)}`", catalogue.find(BATCH, backend).SourceOptions
        )
    parts += _section("`[credential NAME]`", CredentialOptions)
    parts += _section("`[cric NAME]`, whose document makes queues", CricOptions)
    parts += _section("`[held NAME]`", HeldOptions)
    parts.append("## Queues\n")
    parts += _section("All queues", QueueOptions)
    parts.append("### What a queue can submit to\n")
    parts.append("\n".join(_table(("backend", "type", "subtype", "goes to"), ROWS)) + "\n")
    for name, plugin in catalogue.usable.items():
        parts += _section(f"Queues with `{written(name)}`", plugin.QueueOptions)
    parts += ["### Rules, gates and limits\n", _RULES, *_rules()]
    return "\n".join(parts)


_RULES = """\
Makers stand in `rules` and compute a number of pilots in that order. Gates then set it and limits lower it; both act
whenever their option is set, and always where they have a default. In the formulas n is the number so far, A the
activated jobs that are this queue's part, in pilots, P its pilots that wait, L those that left pending after the time
the figures speak of less `first_job_after`, S siblings' pilots that will take jobs of its part
([concepts.md](concepts.md)).
"""


def _section(title: str, model: type[Options]) -> Iterator[str]:
    yield f"### {title}\n"
    fields = declared(model)
    rows = [(f"`{name}`", field.description or "", *_facts(field)) for name, field in fields.items()]
    yield "\n".join(_table(("option", "meaning", "value", "default"), rows)) + "\n" if rows else "No options.\n"


def _rules() -> Iterator[str]:
    for rule in RULES.values():
        yield f"#### {rule.kind} `{rule.name}`\n"
        yield f"{_capital(rule.formula)}.\n"
        rows = [
            (f"`{name}`", field.description or "", *_facts(field))
            for name, field in declared(RuleOptions).items()
            if rule_of(name) == rule.name
        ]
        if rows:
            yield "\n".join(_table(("option", "meaning", "value", "default"), rows)) + "\n"
        yield f"Example: {rule.example}.\n"
        yield f"Unknown: {rule.unknown}.\n"


def _capital(text: str) -> str:
    """Begin a sentence; a formula begins with what it computes."""
    return text if text.startswith(("n ", "J ")) else text[:1].upper() + text[1:]


def _facts(field: FieldInfo) -> tuple[str, str]:
    if field.is_required():
        default = "must be set"
    elif field.default is PydanticUndefined:
        default = "of this host" if field.default_factory is not dict else ""
    else:
        text = write(field, field.default)
        default = f"`{text}`" if text else ""
    return kind(field).name, default


def _table(head: tuple[str, ...], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
