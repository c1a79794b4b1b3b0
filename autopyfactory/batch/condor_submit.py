"""From an order to HTCondor's submit description: pure text, no bindings.

What depends on where the pilots go stands in `condor_rows`.
"""

from collections.abc import Iterable, Iterator, Mapping

from autopyfactory.batch import Context, Order, pilot_environment, pilot_tags
from autopyfactory.batch.cids import cid_prefix
from autopyfactory.batch.condor_child import TAGS
from autopyfactory.batch.condor_rows import CondorQueueOptions, CondorRow, Wish, find, grid_resource
from autopyfactory.batch.condor_text import class_ad_string, protected, quoted
from autopyfactory.config.problems import Fault
from autopyfactory.errors import Refused

KEEP_COMPLETED = 600
"""Seconds for which a completed pilot stays listed, so that no poll misses its end."""

_MACRO = "$(Cluster).$(Process)"
# Stand for the pilot's number and the macro Dir while the rest is quoted: no option can hold a control character.
_NUMBER = "\x1a"
_DIR = "\x1c"


def render(context: Context, order: Order, *, spool: bool = False) -> dict[str, str]:
    """Return the submit description of an order; the queue's own `submit.X` come last and override.

    With `spool` the output files are named relative to the folder, for the schedd's list of renamed files
    cannot hold every path. Raises Refused for text that no submit description can carry, and for a queue
    that names no row or an endpoint that its row cannot take.
    """
    cid = cid_prefix(context.position) + _NUMBER
    row, options = _row(order)
    description = {
        **_universe(row, order, options),
        "executable": protected(str(order.executable)),
        **_files(row, order, cid, spool),
        "environment": quoted(f"{k}={v}" for k, v in pilot_environment(context, order, cid, job_id=_NUMBER).items()),
        "stream_output": "False",
        "stream_error": "False",
        "transfer_executable": "True",
        **_arguments(order.arguments),
        **_transfer(row, spool),
        **_notification(context.factory.admin_email),
        **_protected(row.asks(Wish(order.shape, order.queue.options.batchqueue, options))),
        **_credentials(row, order),
        **row.lines,
        **_attributes(context, order, cid),
    }
    rendered = {name: value.replace(_NUMBER, _MACRO).replace(_DIR, "$(Dir)") for name, value in description.items()}
    return _override(rendered, order.queue.submit)


def _row(order: Order) -> tuple[CondorRow, CondorQueueOptions]:
    backend = order.queue.backend
    options = backend if isinstance(backend, CondorQueueOptions) else CondorQueueOptions()
    row = find(order.queue.options, options)
    if row is None:
        words = f"{order.queue.options.type} {order.queue.options.subtype}".strip()
        raise Refused(f"backend condor has no row '{words}'")
    return row, options


def _universe(row: CondorRow, order: Order, options: CondorQueueOptions) -> dict[str, str]:
    if not row.resource:
        return {"universe": "vanilla"}
    # Without an endpoint the order names the schedd itself.
    endpoint = order.endpoint if order.queue.options.endpoint else ""
    try:
        resource = grid_resource(row, endpoint, order.queue.options.batchqueue, options)
    except (ValueError, KeyError) as error:
        raise Refused(f"endpoint: {error}") from None
    return {"universe": "grid", "grid_resource": protected(resource)}


def _files(row: CondorRow, order: Order, cid: str, spool: bool) -> dict[str, str]:
    folder = protected(str(order.log_dir))
    if row.classic and not spool:
        start, lines = f"{_DIR}/", {"Dir": f"{folder}/"}
    else:
        start, lines = "" if spool else f"{folder}/", {"initialdir": folder}
    named = (("output", "out"), ("error", "err"), ("log", "log"))
    return lines | {name: f"{start}{cid}.{suffix}" for name, suffix in named}


def _arguments(arguments: Iterable[str]) -> dict[str, str]:
    words = list(arguments)
    return {"arguments": quoted(words)} if words else {}


def _transfer(row: CondorRow, spool: bool) -> dict[str, str]:
    if row.classic:
        return {}
    both = {"should_transfer_files": "YES", "when_to_transfer_output": "ON_EXIT"}
    if spool:
        return both
    keep = {"leave_in_queue": f"JobStatus == 4 && time() - EnteredCurrentStatus < {KEEP_COMPLETED}"}
    return keep | (both if row.resource else {"should_transfer_files": "IF_NEEDED"})


def _notification(admin_email: str) -> dict[str, str]:
    if admin_email:
        return {"notification": "Error", "notify_user": protected(admin_email)}
    return {"notification": "Never"}


def _credentials(row: CondorRow, order: Order) -> dict[str, str]:
    """The token authenticates us to the CE, the proxy is delegated to the pilot."""
    lines = {}
    if order.proxy and "proxy" in row.credentials:
        lines["x509userproxy"] = protected(str(order.proxy))
    if order.token and "token" in row.credentials:
        lines |= {"use_scitokens": "True", "scitokens_file": protected(str(order.token))}
    return lines


def _attributes(context: Context, order: Order, cid: str) -> dict[str, str]:
    values = {
        "FACTORY_JOBID": f"{context.factory.host}#{_NUMBER}",
        "MATCH_APF_QUEUE": order.queue.name,
        **pilot_tags(context, order),
    }
    if order.log_url:
        for name, suffix in (("APF_LOGURL", "log"), ("APF_OUTURL", "out"), ("APF_ERRURL", "err")):
            values[name] = f"{order.log_url}/{cid}.{suffix}"
    return {f"+{name}": class_ad_string(protected(value)) for name, value in values.items()}


def _protected(lines: Mapping[str, str]) -> dict[str, str]:
    return {name: protected(value) for name, value in lines.items()}


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


def written(description: Mapping[str, str], count: int) -> str:
    """Return a description as condor_submit would read it from a file."""
    return "".join(f"{name} = {value}\n" for name, value in description.items()) + f"queue {count}\n"
