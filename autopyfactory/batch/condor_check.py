"""Judge a queue of the condor backend by its row: when its section is read, on this host, and at a schedd."""

import re
from collections.abc import Iterator, Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from autopyfactory.batch.condor_rows import CONDOR_ROWS, CondorQueueOptions, CondorRow, Wish, find
from autopyfactory.config.models import CredentialOptions, QueueConfig, QueueOptions
from autopyfactory.config.sentences import declared
from autopyfactory.model import Shape

_SCHEDD_ADDRESS = "SCHEDD_ADDRESS_FILE"


def problems(
    options: QueueOptions, backend: CondorQueueOptions, credentials: Mapping[str, CredentialOptions]
) -> Iterator[str]:
    """Return what is wrong with a queue, each as `option: text`, with `warning: ` before what does not take it out."""
    row = find(options, backend)
    if row is None:
        return
    name = f"{options.type} {options.subtype}".strip()
    given = {**dict(options), **dict(backend)}
    for option in row.required:
        if not given[option]:
            yield f"{option}: is missing, condor {name} needs it: write '{option} = ...'"
    yield from _endpoints(row, name, options)
    if row.needs and not (options.token if "token" in row.needs else ()) and not options.proxy:
        yield f"{row.needs[0]}: is missing, condor {name} needs {' or '.join(f'a {kind}' for kind in row.needs)}"
    for option in declared(CondorQueueOptions):
        if given[option] and option not in (*row.required, *row.reads):
            yield f"warning: {option}: is never read, it does not belong to condor {name}"
    yield from _unsent(row, name, options)
    if options.submit_user:
        yield f"warning: submit_user: is never read, the schedd or CE of condor {name} chooses the account"
    if why := retirement(row, options.subtype, bindings_version()):
        yield f"warning: {why}"


def _unsent(row: CondorRow, name: str, options: QueueOptions) -> Iterator[str]:
    """Warn of what a row has no words for, of all that a pilot may ask for."""
    asked = {
        "cores": (options.cores > 1, Shape(cores=2)),
        "memory": (options.memory is not None, Shape(memory_mb=1000)),
        "memory_per_core": (options.memory_per_core is not None, Shape(memory_mb=1000)),
        "walltime": (options.walltime is not None, Shape(walltime_s=3600)),
    }
    for option, (given, shape) in asked.items():
        if given and row.asks(Wish(shape)) == row.asks(Wish(Shape())):
            yield f"warning: {option}: is not sent, condor {name} has no word for it, submit.X may say it"


def _endpoints(row: CondorRow, name: str, options: QueueOptions) -> Iterator[str]:
    if row.form is None:
        if options.endpoint:
            yield f"warning: endpoint: is never read, condor {name} submits to the schedd itself"
        return
    for endpoint in options.endpoints:
        try:
            row.form.read(endpoint)
        except ValueError as error:
            yield f"endpoint: {error}"


def refusal(queue: QueueConfig, version: str) -> str:
    """Return why no schedd of that version takes the pilots of a queue, or ""; an unknown version refuses nothing.

    The bindings refuse too, whatever the schedd: they make the job's ad.
    """
    backend = queue.backend
    row = find(queue.options, backend) if isinstance(backend, CondorQueueOptions) else None
    if row is None:
        return ""
    said = retirement(row, queue.options.subtype, version)
    return said or retirement(row, queue.options.subtype, bindings_version())


def retirement(row: CondorRow, word: str, version: str) -> str:
    """Return why HTCondor of a version does not submit a grid type, and what to do; "" when it does or may."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if row.retired is None or not numbers or numbers < row.retired.since:
        return ""
    # 9.0.1 and 9.0.2 differ, of later ones two numbers tell enough.
    shown = ".".join(map(str, numbers if numbers[:2] == (9, 0) else numbers[:2]))
    return f"HTCondor {shown} does not submit {word}: {row.retired.instead}"


def bindings_version() -> str:
    """Return the version of HTCondor's Python bindings, "" without them."""
    try:
        return metadata.version("htcondor")
    except metadata.PackageNotFoundError:
        return ""


def lacking(type: str, subtype: str, *, remote: bool = False) -> str:
    """Return what this host lacks to submit pilots of a row now, or ""; `remote`: a schedd elsewhere is configured."""
    if find_spec("htcondor2") is None:
        return "HTCondor's Python bindings are not installed (pip install htcondor)"
    row = CONDOR_ROWS[type, subtype]
    return retirement(row, subtype, bindings_version()) or ("" if remote else _local_schedd())


def _local_schedd() -> str:
    """Return why there is no schedd on this host; only its address file is looked at, nothing is asked."""
    from autopyfactory.batch import condor_child  # noqa: PLC0415

    condor_child.prepare("", "")
    import htcondor2  # noqa: PLC0415

    path = htcondor2.param.get(_SCHEDD_ADDRESS, "")
    if path and Path(path).exists():
        return ""
    return "no schedd runs on this host; a queue can use another by 'source = NAME' and a section [schedd NAME]"
