"""JMESPath expressions as option values."""

from collections.abc import Callable
from typing import Annotated, Any

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import BeforeValidator

from autopyfactory.config.fields import Kind


def expression(text: object) -> str:
    """Check that a text is a JMESPath expression, with any wmsqueue in place of `{wmsqueue}`, and return it."""
    stripped = str(text).strip()
    compiled(stripped.replace(WMSQUEUE, "Q"))
    return stripped


def compiled(text: str) -> Callable[[object], Any] | None:
    """Return a function that looks an expression up in a document, None for an empty one. Raises ValueError."""
    if not text:
        return None
    try:
        search: Callable[[object], Any] = jmespath.compile(text).search
        return search
    except JMESPathError as error:
        where = f", at character {error.lex_position + 1}" if hasattr(error, "lex_position") else ""
        raise ValueError(f"'{text[:80]}' is no JMESPath expression{where}, see https://jmespath.org") from None


WMSQUEUE = "{wmsqueue}"
"""Stands in options for the name of the wmsqueue that is asked for."""

Expression = Annotated[str, BeforeValidator(expression), Kind("JMESPath expression")]
