"""Write text as HTCondor's submit language and queries read it.

Quoting follows the manual of condor_submit ("new" syntax of arguments and environment) and what a schedd
was seen to do with `$`.
"""

from collections.abc import Iterable

from autopyfactory.errors import Refused


def protected(value: str) -> str:
    """Protect `$` from the submit language, which expands `$(X)`, and `$$(X)` once more when a pilot starts.

    Raises Refused for text that no submit description can carry.
    """
    if "$(DOLLAR)" in value or any(character in value for character in "\n\r\0"):
        raise Refused(f"no submit description can carry {value!r}: it has a line break or $(DOLLAR)")
    return value.replace("$$", "\x1b").replace("$", "$(DOLLAR)").replace("\x1b", "$$(DOLLARDOLLAR)")


def quoted(words: Iterable[str]) -> str:
    """Write words as the value of `arguments` or `environment`. Raises Refused."""
    written = (protected(word).replace('"', '""').replace("'", "''") for word in words)
    return '"' + " ".join(f"'{word}'" for word in written) + '"'


def class_ad_string(value: str) -> str:
    """Write a string as the submit language and the constraints of queries read it ("old" ClassAd syntax).

    There a backslash is just one, but before a quotation mark.
    """
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'
