"""The options of rules, gates and limits: one field each, under the name that stands in queues.conf.

A rule's main value is the option of its name, further ones are `rule.what`. Each field names its rule,
so that the check can tell an option whose rule a queue does not use.
"""

from fractions import Fraction
from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

from autopyfactory.config.fields import Boolean, Duration, Number, Options


def _of(
    rule: str, default: Any, description: str, alias: str | None = None, *, mandatory: bool = False, **bounds: Any
) -> Any:
    """Declare an option of a rule; a mandatory one must be set where the rule stands in `rules`."""
    extra: JsonDict = {"rule": rule, "mandatory": mandatory}
    return Field(default, description=description, alias=alias, json_schema_extra=extra, **bounds)


class RuleOptions(Options):
    """Options of the decision. None: the rule is not set and does nothing."""

    ready_offset: int = _of("ready", 0, "activated jobs left to others", "ready.offset", ge=0)
    fixed: int | None = _of("fixed", None, "pilots per cycle, whatever the demand", mandatory=True, ge=0)
    scale: Number = _of("scale", Fraction(1), "factor on what the rules before asked for", ge=0)
    min_per_cycle: int | None = _of("min_per_cycle", None, "at least so many pilots per cycle", ge=0)
    status_test: int | None = _of("status_test", None, "pilots per cycle while the site is in test", ge=0)
    status_offline: int | None = _of("status_offline", None, "pilots per cycle while the site is offline", ge=0)
    max_per_cycle: int | None = _of("max_per_cycle", None, "at most so many pilots per cycle", ge=0)
    max_pending: int | None = _of("max_pending", None, "at most so many pilots that have not started", ge=0)
    max_pending_exempt_empty: Boolean = _of(
        "max_pending", False, "do not limit when no pilot is pending", "max_pending.exempt_empty"
    )
    max_held: int = _of("max_held", 10, "with more held pilots only probes are sent", ge=0)
    max_held_probe: Duration = _of("max_held", 600.0, "time between two probes", "max_held.probe")
    max_pilots: int = _of("max_pilots", 1000, "pilots in flight, at most", ge=0)
