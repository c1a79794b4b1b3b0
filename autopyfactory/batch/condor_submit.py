"""From an order to HTCondor's submit description: pure text, no bindings.

Quoting follows the manual of condor_submit ("new" syntax of arguments and environment) and what a schedd
was seen to do with `$`.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from autopyfactory.batch import Context, Order, pilot_environment, pilot_tags
from autopyfactory.batch.condor_child import TAGS
from autopyfactory.config.problems import Fault
from autopyfactory.errors import Refused
from autopyfactory.model import Shape

KEEP_COMPLETED = 600
"""Seconds for which a completed pilot stays listed, so that no poll misses its end."""

UNIVERSES = {"": "vanilla", "vanilla": "vanilla"}
"""Universe by the queue's `type`."""

_MACRO = "$(Cluster).$(Process)"
# Stands for the pilot's number while the rest is quoted: no option can hold a control character.
_NUMBER = "\x1a"


def cid_prefix(position: int) -> str:
    """Return what precedes `cluster.proc` in the cids of a source: nothing for the first, then `1-`, `2-`, ..."""
    return f"{position}-" if position else ""


def render(context: Context, order: Order, *, spool: bool = False) -> dict[str, str]:
    """Return the submit description of an order; the queue's own `submit.X` come last and override.

    With `spool` the output files are named relative to the folder, for the schedd's list of renamed files
    cannot hold every path. Raises Refused for text that no submit description can carry.
    """
    cid = cid_prefix(context.position) + _NUMBER
    universe = UNIVERSES.get(order.queue.options.type)
    if universe is None:
        raise Refused(f"backend condor has no type '{order.queue.options.type}', known: vanilla")
    folder = "" if spool else f"{_text(str(order.log_dir))}/"
    description = {
        "universe": universe,
        "executable": _text(str(order.executable)),
        "initialdir": _text(str(order.log_dir)),
        "output": f"{folder}{cid}.out",
        "error": f"{folder}{cid}.err",
        "log": f"{folder}{cid}.log",
        "environment": _words(f"{k}={v}" for k, v in _environment(context, order, cid).items()),
        "stream_output": "False",
        "stream_error": "False",
        "transfer_executable": "True",
        "+TransferOutput": '""',
        **_arguments(order.arguments),
        **_transfer(spool),
        **_notification(context.factory.admin_email),
        **_requests(order.shape),
        **_proxy(order.proxy),
        **_attributes(context, order, cid),
    }
    rendered = {name: value.replace(_NUMBER, _MACRO) for name, value in description.items()}
    return _override(rendered, order.queue.submit)


def class_ad_string(value: str) -> str:
    """Write a string as the submit language and the constraints of queries read it ("old" ClassAd syntax).

    There a backslash is just one, but before a quotation mark.
    """
    escaped = value.replace('"', '\\"')
    return f'"{escaped}"'


def _environment(context: Context, order: Order, cid: str) -> dict[str, str]:
    return pilot_environment(context, order, cid, job_id=_NUMBER)


def _arguments(arguments: Iterable[str]) -> dict[str, str]:
    words = list(arguments)
    return {"arguments": _words(words)} if words else {}


def _transfer(spool: bool) -> dict[str, str]:
    if spool:
        return {"should_transfer_files": "YES", "when_to_transfer_output": "ON_EXIT"}
    return {
        "should_transfer_files": "IF_NEEDED",
        "leave_in_queue": f"JobStatus == 4 && time() - EnteredCurrentStatus < {KEEP_COMPLETED}",
    }


def _notification(admin_email: str) -> dict[str, str]:
    if admin_email:
        return {"notification": "Error", "notify_user": _text(admin_email)}
    return {"notification": "Never"}


def _requests(shape: Shape) -> dict[str, str]:
    requests = {"request_cpus": str(shape.cores)}
    if shape.memory_mb is not None:
        requests["request_memory"] = str(shape.memory_mb)
    if shape.walltime_s is not None:
        # Counted from the start of this run; 2 running, 6 transferring output, 7 suspended.
        requests["periodic_remove"] = (
            f"(JobStatus == 2 || JobStatus == 6 || JobStatus == 7) && time() - JobCurrentStartDate > {shape.walltime_s}"
        )
    return requests


def _proxy(proxy: Path | None) -> dict[str, str]:
    return {"x509userproxy": _text(str(proxy))} if proxy else {}


def _attributes(context: Context, order: Order, cid: str) -> dict[str, str]:
    values = {
        "FACTORY_JOBID": f"{context.factory.host}#{_NUMBER}",
        "MATCH_APF_QUEUE": order.queue.name,
        **pilot_tags(context, order),
    }
    if order.log_url:
        for name, suffix in (("APF_LOGURL", "log"), ("APF_OUTURL", "out"), ("APF_ERRURL", "err")):
            values[name] = f"{order.log_url}/{cid}.{suffix}"
    return {f"+{name}": class_ad_string(_text(value)) for name, value in values.items()}


def faults_of(submit: Mapping[str, str]) -> Iterator[Fault]:
    """Judge the names of a queue's own lines."""
    tags = {_line(f"+{tag}") for tag in TAGS}
    for name in submit:
        if _line(name) in tags:
            yield Fault(f"submit.{name}", "would hide the pilots from their own factory, take it out")
        elif _line(name) == "environment":
            text = "takes the place of what tells a pilot its factory and queue, write env.NAME = ... for each variable"
            yield Fault(f"submit.{name}", text, warning=True)
        elif _line(name) in {"output", "error", "log"}:
            text = "leads the pilots' output away from pilot_log_dir, where the factory and its monitors look for it"
            yield Fault(f"submit.{name}", text, warning=True)


def _override(description: dict[str, str], own: Mapping[str, str]) -> dict[str, str]:
    """Put the queue's own lines last; one of ours under the same name goes."""
    for fault in faults_of(own):
        if not fault.warning:
            raise Refused(f"{fault.option} {fault.text}")
    names = {_line(name) for name in own}
    kept = {name: value for name, value in description.items() if _line(name) not in names}
    return kept | dict(own)


def _line(name: str) -> str:
    """Return what HTCondor takes for the name of a line: it knows no case, and `+X` is `MY.X`."""
    folded = name.lower()
    return f"my.{folded[1:]}" if folded.startswith("+") else folded


def _words(words: Iterable[str]) -> str:
    quoted = (_text(word).replace('"', '""').replace("'", "''") for word in words)
    return '"' + " ".join(f"'{word}'" for word in quoted) + '"'


def _text(value: str) -> str:
    """Protect `$` from the submit language, which expands `$(X)`, and `$$(X)` once more when a pilot starts."""
    if "$(DOLLAR)" in value or any(character in value for character in "\n\r\0"):
        raise Refused(f"no submit description can carry {value!r}: it has a line break or $(DOLLAR)")
    return value.replace("$$", "\x1b").replace("$", "$(DOLLAR)").replace("\x1b", "$$(DOLLARDOLLAR)")
