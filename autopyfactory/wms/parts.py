"""Sources of demand that are made of others, as a sum is: their options have `sections`, which names them."""

from collections.abc import Iterable, Mapping

from autopyfactory.config.models import Section
from autopyfactory.config.problems import suggest


def parts_of(section: Section | None) -> tuple[str, ...]:
    """Return the [wms NAME] sections that one is made of, none for an ordinary one."""
    return tuple(getattr(section.options, "sections", ())) if section else ()


def with_parts(names: Iterable[str], sections: Mapping[str, Section]) -> list[str]:
    """Return the names with all that they are made of, each after its parts. Raises ValueError for a circle."""
    found: dict[str, None] = {}

    def visit(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = " > ".join((*way[way.index(name) :], name))
            raise ValueError(f"it is made of itself ({circle}), take one of them out")
        if name not in found:
            for part in parts_of(sections.get(name)):
                visit(part, (*way, name))
            found[name] = None

    for name in names:
        visit(name, ())
    return list(found)


def made_of(sections: Mapping[str, Section], name: str) -> list[Section | None]:
    """Return a section with all that it is made of: where one of them changes, it is another source."""
    return [sections.get(part) for part in with_parts([name], sections)]


def strange_parts(sections: Mapping[str, Section], known: Iterable[str]) -> dict[str, str]:
    """Return what is wrong with the parts of sections, by section: a part that is not there, or a circle."""
    there = sorted(set(known))
    found: dict[str, str] = {}
    for name, section in sections.items():
        missing = [part for part in parts_of(section) if part not in there]
        try:
            with_parts([name], sections)
        except ValueError as error:
            found[name] = str(error)
        if missing:
            found[name] = f"no section [wms {missing[0]}], there is {', '.join(there)}{suggest(missing[0], there)}"
    return found
