"""`autopyfactory queues`: the sections that a site catalogue makes, and why other queues are left out."""

from collections.abc import Iterator
from pathlib import Path

import click
from pydantic import ValidationError

from autopyfactory.cli.options import conf_option
from autopyfactory.config.catalogue import Catalogue
from autopyfactory.config.ini import NO_MAIN
from autopyfactory.config.ini import read as read_file
from autopyfactory.config.sections import Main, read_main
from autopyfactory.cric.document import Document, Unusable, read
from autopyfactory.cric.options import CricOptions
from autopyfactory.cric.refresh import SiteCatalogue, Unreachable
from autopyfactory.cric.sections import Harvest, harvest
from autopyfactory.cric.store import Store
from autopyfactory.errors import ConfigError

_FILTERS = {
    "vo": "Only queues of this virtual organisation.",
    "cloud": "Only queues of this cloud.",
    "site": "Only queues of this site.",
    "activity": "Only queues of this type: production, analysis, unified, ...",
    "pilot_manager": "Only queues of this pilot manager.",
    "queues": "Only queues that this name or pattern matches.",
    "skip": "No queues that this name or pattern matches.",
}


def _filters(command: click.Command) -> click.Command:
    for name, text in reversed(_FILTERS.items()):
        option = click.Option([f"--{name.replace('_', '-')}", name], multiple=True, metavar="WORD", help=text)
        command.params.append(option)
    return command


@click.command(short_help="Print the queues that a site catalogue makes, and why others are left out.")
@conf_option
@click.option("--from", "origin", metavar="FILE|URL", help="This document, instead of those of the configuration.")
@click.option("--name", metavar="NAME", help="Only [cric NAME]; with --from, its filters.")
def queues(conf: Path, origin: str | None, name: str | None, **filters: tuple[str, ...]) -> None:
    """Print the queue sections that a CRIC document makes, and in comments why other queues are left out.

    Without --from: the documents of the [cric NAME] sections as the factory keeps them, and nothing is asked.
    Filters may be given several times; with --from they are all there are, unless --name takes those of a
    section. Nothing is written anywhere.
    """
    given = {word: values for word, values in filters.items() if values}
    if origin is None:
        if given:
            raise click.UsageError("filters belong to --from; those of a [cric NAME] section stand there")
        found = list(_configured(conf, name))
    else:
        base = _sections(conf, name)[name].model_dump(exclude={"url", "file"}) if name else {}
        options = _options(origin, base | given)
        found = [(options, _fetched(options))]
    for options, document in found:
        harvested = harvest(document, options)
        for line in lines(options, document, harvested):
            click.echo(line)


def lines(options: CricOptions, document: Document, harvested: Harvest) -> Iterator[str]:
    """Return the sections as they could stand in a file, then the doubts and the reasons as comments."""
    made, left = len(harvested.sections), len(harvested.left_out)
    found = f"{len(document)} PanDA queue{'s make' if len(document) != 1 else ' makes'}"
    yield f"; {options.origin}: {found} {made} queue{'s' if made != 1 else ''}, {left} left out"
    for section in harvested.sections.values():
        yield ""
        yield f"[{section.name}]"
        yield from (f"{option} = {text}" for option, text in section.options.items())
    if harvested.warnings or harvested.left_out:
        yield ""
    yield from (f"; warning: {name}: {text}" for name, text in harvested.warnings)
    yield from (f"; left out: {name}: {text}" for name, text in harvested.left_out)


def _configured(conf: Path, name: str | None) -> Iterator[tuple[CricOptions, Document]]:
    main = _main(conf)
    for found, options in _sections(conf, name).items():
        try:
            kept = Store(found, options, main.factory.state_dir).current() if main.factory else None
        except Unusable as error:
            raise click.ClickException(f"[cric {found}]: {error}") from None
        if kept is None:
            look = f"; look at it now by --from '{options.origin}'" if options.url else ""
            raise click.ClickException(f"[cric {found}]: {options.missing}{look}")
        yield options, kept.document


def _sections(conf: Path, name: str | None) -> dict[str, CricOptions]:
    sections = _main(conf).catalogues
    if name is not None and name not in sections:
        raise click.UsageError(f"there is no section [cric {name}] in {conf}")
    if not sections:
        raise click.UsageError(f"there is no section [cric NAME] in {conf}, name a document by --from")
    return {name: sections[name]} if name is not None else sections


def _main(conf: Path) -> Main:
    main = read_main(read_file(conf, missing=NO_MAIN), Catalogue())
    wrong = [str(problem) for problem in main.problems if not problem.warning]
    if wrong:
        raise ConfigError(wrong)
    return main


def _options(origin: str, filters: dict[str, object]) -> CricOptions:
    place = {"url": origin} if "://" in origin else {"file": str(Path(origin).absolute())}
    try:
        return CricOptions.model_validate(filters | place)
    except ValidationError as error:
        said = "; ".join(str(detail["msg"]).removeprefix("Value error, ") for detail in error.errors())
        raise click.BadParameter(said, param_hint="--from") from None


def _fetched(options: CricOptions) -> Document:
    catalogue = SiteCatalogue("of the command line", options, Path("/nonexistent"))
    try:
        return read(catalogue.fetch())
    except (Unreachable, Unusable) as error:
        raise click.ClickException(f"{options.origin}: {error}") from None
    finally:
        catalogue.close()


_filters(queues)
