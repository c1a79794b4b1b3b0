"""What a queue's options say to the pilot: words that are appended to the wrapper's `arguments`."""

from collections.abc import Iterator

from autopyfactory.config.fields import REST
from autopyfactory.config.models import QueueOptions

_NAMES = {
    "classic": ("-o", "-v", "-A"),
    "pilot3": ("--country-group", "--working-group", "--allow-other-country"),
}
"""The names of country, group and allow_other_country: of the pilots up to 2, and of pilot 3 (its `--help`)."""

_TYPES = frozenset({"SCORE", "MCORE", "SCORE_HIMEM", "MCORE_HIMEM"})
"""Resource types that pilot 3 takes."""


def releases_of(options: QueueOptions) -> dict[str, str]:
    """Return the pilot's release for each label of a queue, for a queue of all labels that of the rest."""
    rest = options.releases.get(REST, "")
    return {label: options.releases.get(label, rest) for label in options.labels or (REST,)}


def release_of(options: QueueOptions) -> str:
    """Return the release of a queue's pilots, that of the rest where its labels want several."""
    found = set(releases_of(options).values())
    return found.pop() if len(found) == 1 else options.releases.get(REST, "")


def pilot_options(options: QueueOptions, part: str = "") -> Iterator[str]:
    """Return the words for a queue's pilot; `part` is the resource type that the queue counts alone, if any.

    A pilot that was sent for one type must not take a job of another, which waits for pilots of its own.
    """
    country, group, other = _NAMES[options.pilot_options]
    if options.country:
        yield from (country, options.country)
    if options.group:
        yield from (group, options.group)
    if options.allow_other_country:
        yield from (other, "True")
    if release := release_of(options):
        yield from ("-i", release)
    if part in _TYPES and options.pilot_options == "pilot3":
        yield from ("--resource-type", part)
