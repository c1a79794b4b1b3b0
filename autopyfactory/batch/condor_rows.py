"""The rows of the condor backend: what each type and subtype adds to a submit description, as data.

A row tells how its endpoints look, the pattern of grid_resource, how cores, memory, wall time and batch
queue of one pilot are written, which lines are always there, and which credentials it carries. A further
kind of CE is one more row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pydantic import Field

from autopyfactory.batch.condor_endpoint import Form
from autopyfactory.batch.condor_text import class_ad_string
from autopyfactory.batch.globus_rsl import ADDED, WHOLE, asked, relations
from autopyfactory.config.fields import AbsolutePath, Options
from autopyfactory.config.models import QueueOptions
from autopyfactory.model import Shape


class CondorQueueOptions(Options):
    """What the condor backend adds to a queue; each row of type grid reads those that it names."""

    remote_schedd: str = Field("", description="grid condor: name of the schedd behind endpoint, where it is no CE")
    lrms: str = Field("", description="grid cream: the batch system behind the CE, for example pbs")
    arc_resources: str = Field("", description="grid arc: more elements of the job's Resources, as XML of ADL")
    arc_rte: str = Field("", description="grid arc: runtime environments, by commas, each with its options")
    ssh_key: AbsolutePath | None = Field(None, description="grid slurm, pbs, lsf, sge over ssh: the private key")
    globusrsl: str = Field("", description=WHOLE)
    globusrsl_add: str = Field("", description=ADDED)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a row converts: the shape of one pilot, its batch queue, and the queue's options for condor."""

    shape: Shape
    batchqueue: str = ""
    options: CondorQueueOptions = field(default_factory=CondorQueueOptions)


@dataclass(frozen=True, slots=True)
class Retired:
    """A grid type that HTCondor no longer knows from the version `since` on, and what to do then."""

    since: tuple[int, int, int]
    instead: str


@dataclass(frozen=True, slots=True)
class CondorRow:
    """One row. `resource` is the pattern of grid_resource, "" for a pool's own jobs.

    `required` names options that must be set, `reads` further ones of CondorQueueOptions; `credentials` are
    the kinds that go into the description, one of `needs` must be there. With `classic` the description is
    what AutoPyFactory 2 wrote, attribute for attribute, with our tags.
    """

    asks: Callable[[Wish], Mapping[str, str]]
    resource: str = ""
    form: Form | None = None
    lines: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    credentials: tuple[str, ...] = ("proxy",)
    needs: tuple[str, ...] = ()
    classic: bool = False
    retired: Retired | None = None


def _pool(wish: Wish) -> dict[str, str]:
    """A schedd's own words; wall time is a rule of its own, counted from the start of this run."""
    shape = wish.shape
    lines = {"request_cpus": str(shape.cores)}
    if shape.memory_mb is not None:
        lines["request_memory"] = str(shape.memory_mb)
    if shape.walltime_s is not None:
        # 2 running, 6 transferring output, 7 suspended.
        lines["periodic_remove"] = (
            f"(JobStatus == 2 || JobStatus == 6 || JobStatus == 7) && time() - JobCurrentStartDate > {shape.walltime_s}"
        )
    return lines


def _ce(wish: Wish) -> dict[str, str]:
    """The words of HTCondor-CE's default routes; behind them request_memory would be overwritten."""
    shape = wish.shape
    lines = {"request_cpus": str(shape.cores), "+xcount": str(shape.cores)}
    if shape.memory_mb is not None:
        lines["+maxMemory"] = str(shape.memory_mb)
    if shape.walltime_s is not None:
        lines["+maxWallTime"] = str(_minutes(shape.walltime_s))
    if wish.batchqueue:
        lines["+remote_queue"] = class_ad_string(wish.batchqueue)
    return lines


def _arc(wish: Wish) -> dict[str, str]:
    """ARC reads memory per slot; wall time has no word of its own and goes as ADL, in seconds.

    Memory that is left to the CE must be left undefined, or condor_submit asks for 128 MB.
    """
    shape, options = wish.shape, wish.options
    memory = "undefined" if shape.memory_mb is None else str(-(-shape.memory_mb // shape.cores))
    lines = {"request_cpus": str(shape.cores), "request_memory": memory}
    resources = options.arc_resources
    if shape.walltime_s is not None and "<WallTime" not in resources:
        resources = f"<WallTime>{shape.walltime_s}</WallTime>{resources}"
    if resources:
        lines["arc_resources"] = resources
    if options.arc_rte:
        lines["arc_rte"] = options.arc_rte
    if wish.batchqueue:
        lines["batch_queue"] = wish.batchqueue
    return lines


def _blah(wish: Wish) -> dict[str, str]:
    """The batch gahp forwards no request_cpus, and Slurm's and LSF's scripts cut seconds to whole minutes."""
    shape = wish.shape
    lines = {"request_cpus": str(shape.cores), "+NodeNumber": str(shape.cores), "+SMPGranularity": str(shape.cores)}
    if shape.memory_mb is not None:
        lines["request_memory"] = str(shape.memory_mb)
    if shape.walltime_s is not None:
        lines["batch_runtime"] = str(60 * _minutes(shape.walltime_s))
    if wish.batchqueue:
        lines["batch_queue"] = wish.batchqueue
    return lines


def _gram(wish: Wish) -> dict[str, str]:
    options = wish.options
    made = relations(asked(wish.shape, wish.batchqueue))
    return {"globusrsl": (options.globusrsl or made) + options.globusrsl_add}


def _nothing(_wish: Wish) -> dict[str, str]:
    return {}


def _minutes(seconds: int) -> int:
    return -(-seconds // 60)


_NO_OUTPUT = {"+TransferOutput": '""'}
# HTCondor removes such a job where it would hold another one, and the reason with it: none of the later rows has it.
_NONESSENTIAL = {"+Nonessential": "True"}
_HOST = Form("ce1.example.org:9619", 9619)
_GATEKEEPER = Form("gk01.example.org/jobmanager-pbs", path=r"(?:/\S+)?")
_GRAM_ENDED = Retired((9, 0, 2), "use backend = globus, or a schedd of 9.0.1 or older")

_VANILLA = CondorRow(_pool, lines=_NO_OUTPUT)
_PLAIN = CondorRow(
    _pool,
    "condor {remote_schedd} {host}:{port}",
    Form("cm1.example.org:9618", 9618),
    {
        **_NO_OUTPUT,
        "+remote_jobuniverse": "5",
        "+remote_ShouldTransferFiles": '"YES"',
        "+remote_WhenToTransferOutput": '"ON_EXIT"',
    },
    required=("endpoint", "remote_schedd"),
    credentials=("proxy", "token"),
)


def _batch(system: str) -> CondorRow:
    return CondorRow(
        _blah,
        f"batch {system} {{target}} {{rgahp}}",
        Form("pilot@login1.example.org", user=True),
        _NO_OUTPUT,
        reads=("ssh_key",),
    )


def _globus(word: str) -> CondorRow:
    return CondorRow(
        _gram,
        f"{word} {{endpoint}}",
        _GATEKEEPER,
        {**_NONESSENTIAL, "copy_to_spool": "True"},
        required=("endpoint",),
        reads=("globusrsl", "globusrsl_add"),
        needs=("proxy",),
        classic=True,
        retired=_GRAM_ENDED,
    )


CONDOR_ROWS: dict[tuple[str, str], CondorRow] = {
    ("vanilla", ""): _VANILLA,
    ("grid", "condor"): CondorRow(
        _ce,
        "condor {host} {host}:{port}",
        _HOST,
        _NO_OUTPUT,
        required=("endpoint",),
        reads=("remote_schedd",),
        credentials=("proxy", "token"),
    ),
    ("grid", "arc"): CondorRow(
        _arc,
        "arc https://{host}:{port}/arex/rest/1.0",
        Form("arc1.example.org:443", 443, r"(?:/(?:arex(?:/rest(?:/1\.0)?)?/?)?)?", url=True),
        required=("endpoint",),
        reads=("arc_resources", "arc_rte"),
        credentials=("proxy", "token"),
        needs=("token", "proxy"),
    ),
    **{("grid", system): _batch(system) for system in ("slurm", "pbs", "lsf", "sge")},
    **{("grid", word): _globus(word) for word in ("gt2", "gt5")},
    ("grid", "cream"): CondorRow(
        _nothing,
        "cream https://{host}:{port}/ce-cream/services/CREAM2 {lrms} {batchqueue}",
        Form("cream1.example.org:8443", 8443, r"(?:/(?:ce-cream/services/CREAM2/?)?)?", url=True),
        _NONESSENTIAL,
        required=("endpoint", "lrms", "batchqueue"),
        needs=("proxy",),
        classic=True,
        retired=Retired((9, 0, 0), "use a schedd older than 9.0.0"),
    ),
}
"""The rows by type and subtype."""


def find(options: QueueOptions, backend: CondorQueueOptions) -> CondorRow | None:
    """Return the row of a queue; a `remote_schedd` makes a plain schedd of a CE."""
    row = CONDOR_ROWS.get((options.type or "vanilla", options.subtype))
    return _PLAIN if row is CONDOR_ROWS["grid", "condor"] and backend.remote_schedd else row


def grid_resource(row: CondorRow, endpoint: str, batchqueue: str, options: CondorQueueOptions) -> str:
    """Return the value of grid_resource; `endpoint` "" is this host's own batch system.

    Raises ValueError for an endpoint that the row cannot take.
    """
    place = row.form.read(endpoint) if row.form and endpoint else {"target": "", "endpoint": ""}
    key = f"--rgahp-key {options.ssh_key}" if options.ssh_key and endpoint else ""
    values = {"remote_schedd": options.remote_schedd, "lrms": options.lrms, "batchqueue": batchqueue, "rgahp": key}
    return row.resource.format_map(values | place).rstrip()
