"""Validate texts against an option model, and say what pydantic finds in sentences for an admin."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from autopyfactory.config.fields import Options, kind, write
from autopyfactory.config.problems import Fault, suggest

M = TypeVar("M", bound=Options)


def declared(model: type[Options]) -> dict[str, FieldInfo]:
    """Return the fields of a model by the names that stand in files."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def build(model: type[M], values: Mapping[str, str]) -> tuple[M | None, list[Fault]]:
    """Return the validated options and what is wrong with the texts.

    With faults, the options are those of the sound texts alone, to judge the rest of a section by; None
    where not even that can be had. `none` takes back an option that is not set by default, so that a
    queue can undo what [DEFAULT] says.
    """
    fields = declared(model)
    given = {name: text for name, text in values.items() if not _unset(fields.get(name), text)}
    try:
        return model.model_validate(given), []
    except ValidationError as error:
        faults = [_fault(fields, given, detail) for detail in error.errors(include_url=False)]
    wrong = {fault.option for fault in faults}
    try:
        return model.model_validate({name: text for name, text in given.items() if name not in wrong}), faults
    except ValidationError:
        return None, faults


def _unset(field: FieldInfo | None, text: str) -> bool:
    return field is not None and not field.is_required() and field.default is None and text.strip().lower() == "none"


def _fault(fields: Mapping[str, FieldInfo], given: Mapping[str, str], detail: ErrorDetails) -> Fault:
    option = str(detail["loc"][0]) if detail["loc"] else ""
    field = fields.get(option)
    if detail["type"] == "missing":
        about = f" ({field.description})" if field is not None and field.description else ""
        return Fault(option, f"is missing, write '{option} = ...'{about}", missing=True)
    text = given.get(option, "")
    comment = " (a comment at the end of a line begins with ; and a blank before it)" if " #" in text else ""
    return Fault(option, _sentence(field, text, detail) + comment)


def _sentence(field: FieldInfo | None, text: str, detail: ErrorDetails) -> str:
    context: dict[str, Any] = detail.get("ctx", {})
    if detail["type"] == "value_error":
        return str(context["error"])
    secret = field is not None and kind(field).name == "secret"
    said = "the value" if secret else f"'{text[:80]}'"
    known = _SENTENCES.get(detail["type"])
    if known is None:
        return f"{said} is not good: {detail['msg'][:1].lower()}{detail['msg'][1:]}"
    return known(said, {name: _limit(field, value) for name, value in context.items()})


def _limit(field: FieldInfo | None, value: object) -> str:
    """Write a bound as the admin would write a value of the option."""
    if field is not None and isinstance(value, int | float):
        return write(field, value)
    return str(value)


def _choice(said: str, context: Mapping[str, str]) -> str:
    words = context["expected"].replace("'", "").replace(" or ", ", ").split(", ")
    hint = suggest(said.strip("'"), words)
    return f"{said} is none of {', '.join(words)}{hint or ', write one of them'}"


_SENTENCES: dict[str, Callable[[str, Mapping[str, str]], str]] = {
    "int_parsing": lambda said, _: f"{said} is no whole number",
    "int_parsing_size": lambda said, _: f"{said} is too large a number",
    "int_from_float": lambda said, _: f"{said} is no whole number",
    "float_parsing": lambda said, _: f"{said} is no number",
    "greater_than_equal": lambda said, at: f"{said} is too little, write {at['ge']} or more",
    "greater_than": lambda said, at: f"{said} is too little, write more than {at['gt']}",
    "less_than_equal": lambda said, at: f"{said} is too much, write {at['le']} or less",
    "less_than": lambda said, at: f"{said} is too much, write less than {at['lt']}",
    "string_pattern_mismatch": lambda said, at: f"{said} is not allowed, it has to match {at['pattern']}",
    "string_too_short": lambda said, at: f"{said} is too short, write at least {at['min_length']} characters",
    "string_too_long": lambda said, at: f"{said} is too long, write at most {at['max_length']} characters",
    "literal_error": _choice,
}
