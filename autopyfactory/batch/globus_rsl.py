"""GRAM's job description, the RSL: what a pilot asks for, and the script that travels inside it.

GRAM takes a request of 64,000 bytes at most and answers nothing when there are more. A script is compressed and
goes as one variable of the job's environment, where no list of processes shows it.
"""

import base64
import gzip
import re
from collections.abc import Iterable, Mapping

from pydantic import Field

from autopyfactory.batch import Order
from autopyfactory.batch.commands_options import CommandQueueOptions
from autopyfactory.errors import Refused
from autopyfactory.model import Shape

LIMIT = 60_000
"""Bytes of a whole RSL."""

TWO_PHASE = 300
"""Seconds that GRAM waits for a request to be confirmed, and keeps a job that has ended."""

OURS = frozenset({"executable", "arguments", "stdin", "count", "twophase", "savestate", "restart", "dryrun"})
"""Attributes that make a job one of our pilots, as GRAM reads them: without case and underscores."""

WHOLE = "gt2, gt5: what a pilot asks for as RSL, instead of that made from the queue"
ADDED = "gt2, gt5: RSL to add"

_VARIABLE = "APF_SCRIPT"
_UNPACK = f's=${_VARIABLE};unset {_VARIABLE};eval "`echo $s|base64 -d|gzip -dc`"'
_PLAIN = re.compile(r"[A-Za-z0-9_./:@,-]+")
_ATTRIBUTE = re.compile(r"\(\s*\"?([A-Za-z_]+)\"?\s*=")


class GlobusQueueOptions(CommandQueueOptions):
    """What GRAM adds to a queue: `submit.X = value` is the relation `(X=value)`, `account` is its project."""

    globusrsl: str = Field("", description=WHOLE)
    globusrsl_add: str = Field("", description=ADDED)
    output_url: str = Field(
        "", description="gsiftp:// or https:// URL before the output's path in pilot_log_dir; empty: it is not kept"
    )


def quoted(value: str) -> str:
    """Return a value as RSL writes it; within the quotes nothing has a meaning but the quote."""
    if "\0" in value:
        raise Refused(f"{value!r} has a NUL, which no RSL can carry")
    return value if _PLAIN.fullmatch(value) else '"' + value.replace('"', '""') + '"'


def relations(values: Mapping[str, str]) -> str:
    """Return attributes with their values, those without a value left out."""
    return "".join(f"({name}={quoted(value)})" for name, value in values.items() if value)


def asked(shape: Shape, batchqueue: str) -> dict[str, str]:
    """Return what one pilot asks for, as AutoPyFactory 2 wrote it."""
    values = {"queue": batchqueue, "jobtype": "single"}
    if shape.cores > 1:
        values |= {"xcount": str(shape.cores), "host_xcount": "1"}
    if shape.memory_mb is not None:
        values["maxMemory"] = str(shape.memory_mb)
    if shape.walltime_s is not None:
        values["maxWallTime"] = str(-(-shape.walltime_s // 60))
    return values


def request(order: Order, script: str, cid: str) -> str:
    """Return the RSL of one pilot. Raises Refused for what GRAM cannot carry."""
    packed = base64.b64encode(gzip.compress(script.encode(), mtime=0)).decode()
    text = (
        f"&(executable=/bin/sh)(arguments=-c {quoted(_UNPACK)})(environment=({_VARIABLE} {quoted(packed)}))"
        f"(two_phase={TWO_PHASE})(save_state=yes){_own(order)}{_output(order, cid)}"
    )
    if len(text.encode()) > LIMIT:
        raise Refused(
            f"the script of a pilot makes a request of {len(text.encode())} bytes, GRAM takes {LIMIT}: name a small"
            " executable that fetches the rest"
        )
    return text


def restart(contact: str) -> str:
    """Return the request that asks a gatekeeper for a job it may still know, and for its present contact."""
    return f"&(restart={quoted(contact)})"


def hiding(options: GlobusQueueOptions, submit: Iterable[str]) -> str:
    """Return the first attribute of a queue's own RSL that would take its pilots from their factory, or ""."""
    found = [*submit, *_ATTRIBUTE.findall(options.globusrsl), *_ATTRIBUTE.findall(options.globusrsl_add)]
    return next((name for name in found if _folded(name) in OURS), "")


def _own(order: Order) -> str:
    options, submit = order.queue.backend, order.queue.submit
    if not isinstance(options, GlobusQueueOptions):
        options = GlobusQueueOptions()
    if name := hiding(options, submit):
        raise Refused(f"the RSL attribute {name} belongs to the factory, take it out")
    taken = {_folded(name) for name in submit}
    made = asked(order.shape, order.queue.options.batchqueue)
    if options.account:
        made["project"] = options.account
    made = {name: value for name, value in made.items() if _folded(name) not in taken}
    return (options.globusrsl or relations(made)) + relations(submit) + options.globusrsl_add


def _output(order: Order, cid: str) -> str:
    options = order.queue.backend
    url = options.output_url.rstrip("/") if isinstance(options, GlobusQueueOptions) else ""
    taken = {_folded(name) for name in order.queue.submit}
    values = {"stdout": f"{url}{order.log_dir}/{cid}.out", "stderr": f"{url}{order.log_dir}/{cid}.err"}
    return relations({name: value for name, value in values.items() if url and name not in taken})


def _folded(name: str) -> str:
    return name.lower().replace("_", "")
