"""The options of rules, gates and limits: one field each, under the name that stands in queues.conf.

A rule's main value is the option of its name, further ones are `rule.what`. Each field names its rule,
so that the check can tell an option whose rule a queue does not use.
"""

from fractions import Fraction
from typing import Any

from pydantic import Field
from pydantic.config import JsonDict

from autopyfactory.config.fields import Boolean, Duration, ExitCodes, Number, Options


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
    weighted_activated: Number = _of(
        "weighted", Fraction(1), "factor on the activated jobs", "weighted.activated", ge=0
    )
    weighted_pending: Number = _of("weighted", Fraction(1), "factor on the waiting pilots", "weighted.pending", ge=0)
    min_per_cycle: int | None = _of("min_per_cycle", None, "at least so many pilots per cycle", ge=0)
    min_pending: int | None = _of("min_pending", None, "at least so many pilots that wait", mandatory=True, ge=0)
    keep_running: int | None = _of(
        "keep_running", None, "pilots that run or wait, in all; unset: what the rules before it want", ge=0
    )
    keep_pending: int | None = _of(
        "keep_pending", None, "pilots that wait, and how many are sent at once", mandatory=True, ge=1
    )
    keep_pending_depth_boost: Number = _of(
        "keep_pending", Fraction(2), "with more jobs, so many times as many may wait", "keep_pending.depth_boost", ge=1
    )
    keep_pending_idle_every: int = _of(
        "keep_pending", 1, "without jobs, one pilot in so many cycles", "keep_pending.idle_every", ge=1
    )
    probe: Duration = _of("probe", 3600.0, "time between two pilots while there is no demand", gt=0)
    status_test: int | None = _of("status_test", None, "pilots per cycle while the site is in test", ge=0)
    status_test_max_pending: int | None = _of(
        "status_test", None, "none while more than so many wait", "status_test.max_pending", ge=0
    )
    status_test_burst: int | None = _of(
        "status_test", None, "pilots per cycle instead, while few are in flight", "status_test.burst", ge=0
    )
    status_test_burst_up_to: int = _of("status_test", 20, "how many in flight are few", "status_test.burst_up_to", ge=0)
    status_offline: int | None = _of("status_offline", None, "pilots per cycle while the site is offline", ge=0)
    downtime_drain_before: Duration | None = _of(
        "downtime", None, "no pilots so long before it; unset: the walltime of a pilot", "downtime.drain_before", ge=0
    )
    turnover: Duration | None = _of("turnover", None, "how long a job runs in a pilot that runs many", gt=0)
    turnover_ahead: Duration = _of("turnover", 600.0, "how long a new pilot takes to its first job", "turnover.ahead")
    throttle: Number | None = _of(
        "throttle", None, "share of short-lived pilots above which only probes go", ge=0, le=1
    )
    throttle_shorter_than: Duration = _of("throttle", 180.0, "what is a short life", "throttle.shorter_than", gt=0)
    throttle_window: Duration = _of("throttle", 3600.0, "how far back pilots count", "throttle.window", gt=0)
    throttle_probe: Duration = _of("throttle", 600.0, "time between two probes", "throttle.probe", gt=0)
    empty_guard: Number | None = _of(
        "empty_guard", None, "share of pilots without work above which only probes go", ge=0, le=1
    )
    empty_guard_no_work: ExitCodes = _of(
        "empty_guard", (0, 20, 82), "exit codes of pilots that found none; no fault for throttle", "empty_guard.no_work"
    )
    empty_guard_shorter_than: Duration = _of(
        "empty_guard", 300.0, "one with such a code that lived longer has worked", "empty_guard.shorter_than", gt=0
    )
    empty_guard_window: Duration = _of("empty_guard", 900.0, "how far back pilots count", "empty_guard.window", gt=0)
    empty_guard_probe: Duration = _of("empty_guard", 120.0, "time between two probes", "empty_guard.probe", gt=0)
    transferring_limit: int | None = _of(
        "transferring_limit", None, "with so many jobs in transfer no pilots are sent", ge=0
    )
    max_per_cycle: int | None = _of("max_per_cycle", None, "at most so many pilots per cycle", ge=0)
    max_pending: int | None = _of("max_pending", None, "at most so many pilots that have not started", ge=0)
    max_pending_exempt_empty: Boolean = _of(
        "max_pending", False, "do not limit when no pilot is pending", "max_pending.exempt_empty"
    )
    max_held: int = _of("max_held", 10, "with more held pilots only probes are sent", ge=0)
    max_held_probe: Duration = _of("max_held", 600.0, "time between two probes", "max_held.probe")
    max_pilots: int = _of("max_pilots", 1000, "pilots in flight, at most", ge=0)
    retire: int | None = _of("retire", None, "so many pilots may wait for nothing, the others are removed", ge=0)
    retire_after: Duration = _of("retire", 1800.0, "only those that waited so long", "retire.after", ge=0)
