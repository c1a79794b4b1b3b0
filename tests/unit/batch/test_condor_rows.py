"""What each row of the condor backend writes: conversions, endpoints, credentials, and the classic's descriptions."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autopyfactory.batch import Order
from autopyfactory.batch.condor_endpoint import Form
from autopyfactory.batch.condor_rows import CONDOR_ROWS, CondorQueueOptions
from autopyfactory.batch.condor_submit import render, written
from autopyfactory.batch.rows import ROWS
from autopyfactory.config.models import QueueConfig, QueueOptions
from autopyfactory.errors import Refused
from autopyfactory.model import Shape
from autopyfactory.sched.options import RuleOptions
from tests.unit.batch.test_condor_submit import context, parse_words

SHAPE = Shape(8, 16001, 172801)
COMMON = {
    "executable",
    "initialdir",
    "output",
    "error",
    "log",
    "environment",
    "stream_output",
    "stream_error",
    "transfer_executable",
    "leave_in_queue",
    "should_transfer_files",
    "when_to_transfer_output",
    "notification",
    "+FACTORY_JOBID",
    "+MATCH_APF_QUEUE",
    "+APF_FACTORY",
    "+APF_HOST",
    "+APF_QUEUE",
    "+APF_ENDPOINT",
    "+APF_SHAPE",
    "+APF_SUBMISSION",
}
REMOVAL = "(JobStatus == 2 || JobStatus == 6 || JobStatus == 7) && time() - JobCurrentStartDate > 172801"
BATCH = {
    "request_cpus": "8",
    "+NodeNumber": "8",
    "+SMPGranularity": "8",
    "request_memory": "16001",
    "batch_runtime": "172860",
    "batch_queue": "long",
    "+TransferOutput": '""',
}


def order(subtype: str, endpoint: str = "", shape: Shape = SHAPE, **options: Any) -> Order:
    backend = CondorQueueOptions(**options)
    common = QueueOptions(backend="condor", type="grid", subtype=subtype, endpoint=endpoint, batchqueue="long")
    return Order(
        id="s-1",
        queue=QueueConfig("Q1", common, backend, RuleOptions()),
        endpoint=endpoint or "ap1",
        shape=shape,
        count=2,
        executable=Path("/opt/wrapper.sh"),
        log_dir=Path("/logs/2026-01-02/Q1"),
    )


def rendered(made: Order) -> dict[str, str]:
    """Return what is not the same in all rows."""
    return {name: value for name, value in render(context(), made).items() if name not in COMMON}


@pytest.mark.parametrize(
    ("made", "lines"),
    [
        (
            order("condor", "ce1.example.org"),
            {
                "universe": "grid",
                "grid_resource": "condor ce1.example.org ce1.example.org:9619",
                "request_cpus": "8",
                "+xcount": "8",
                "+maxMemory": "16001",
                "+maxWallTime": "2881",
                "+remote_queue": '"long"',
                "+TransferOutput": '""',
            },
        ),
        (
            order("condor", "cm.example.org", remote_schedd="batch@sched02"),
            {
                "universe": "grid",
                "grid_resource": "condor batch@sched02 cm.example.org:9618",
                "request_cpus": "8",
                "request_memory": "16001",
                "periodic_remove": REMOVAL,
                "+TransferOutput": '""',
                "+remote_jobuniverse": "5",
                "+remote_ShouldTransferFiles": '"YES"',
                "+remote_WhenToTransferOutput": '"ON_EXIT"',
            },
        ),
        (
            order(
                "arc", "arc1.example.org", arc_resources="<NodeAccess>outbound</NodeAccess>", arc_rte="ENV/PROXY, A B"
            ),
            {
                "universe": "grid",
                "grid_resource": "arc https://arc1.example.org:443/arex/rest/1.0",
                "request_cpus": "8",
                "request_memory": "2001",
                "arc_resources": "<WallTime>172801</WallTime><NodeAccess>outbound</NodeAccess>",
                "arc_rte": "ENV/PROXY, A B",
                "batch_queue": "long",
            },
        ),
        (order("slurm"), {"universe": "grid", "grid_resource": "batch slurm"} | BATCH),
        (
            order("pbs", "pilot@login1", ssh_key="/etc/apf/key"),
            {"universe": "grid", "grid_resource": "batch pbs pilot@login1 --rgahp-key /etc/apf/key"} | BATCH,
        ),
        (order("lsf", "login1:2222"), {"universe": "grid", "grid_resource": "batch lsf login1:2222"} | BATCH),
        (order("sge", ssh_key="/etc/apf/key"), {"universe": "grid", "grid_resource": "batch sge"} | BATCH),
    ],
    ids=lambda value: value.queue.options.subtype if isinstance(value, Order) else "",
)
def test_what_a_row_adds(made: Order, lines: dict[str, str]) -> None:
    assert rendered(made) == lines


def test_every_row_of_the_table_is_here_and_no_other() -> None:
    assert {(row.type, row.subtype) for row in ROWS if row.backend == "condor"} == set(CONDOR_ROWS)


@pytest.mark.parametrize("subtype", ["condor", "arc", "slurm"])
def test_what_is_not_asked_for_is_not_there(subtype: str) -> None:
    made = order(subtype, "ce1", Shape())
    bare = replace(made, queue=replace(made.queue, options=made.queue.options.model_copy(update={"batchqueue": ""})))
    asked = {"batch_runtime", "arc_resources", "batch_queue", "+maxMemory", "+maxWallTime"}
    assert not rendered(bare).keys() & {*asked, "+remote_queue", "x509userproxy", "use_scitokens"}
    assert rendered(bare)["request_cpus"] == "1"
    assert rendered(bare).get("request_memory") == ("undefined" if subtype == "arc" else None)


@pytest.mark.parametrize(
    ("subtype", "proxy", "token"),
    [("condor", True, True), ("arc", True, True), ("slurm", True, False), ("gt2", True, False), ("cream", True, False)],
)
def test_credentials_are_those_that_the_row_carries(subtype: str, proxy: bool, token: bool) -> None:
    made = replace(order(subtype, "ce1", lrms="pbs"), proxy=Path("/p"), token=Path("/t"))
    lines = rendered(made)
    assert (lines.get("x509userproxy") == "/p") is proxy
    assert (lines.get("scitokens_file") == "/t" and lines.get("use_scitokens") == "True") is token


HOST = Form("ce1.example.org:9619", 9619)
ARC = CONDOR_ROWS["grid", "arc"].form


@pytest.mark.parametrize(
    "endpoint",
    ["arc1", "arc1:443", "https://arc1", "https://arc1:443/arex", "https://arc1/arex/rest/1.0", "arc1/arex/"],
)
def test_forms_of_an_arc_endpoint_are_one(endpoint: str) -> None:
    assert rendered(order("arc", endpoint))["grid_resource"] == "arc https://arc1:443/arex/rest/1.0"


@pytest.mark.parametrize(
    "endpoint",
    ["", "a b", "ce1:", "ce1:0", "ce1:65536", "ce1:123456", "https://ce1", "me@ce1", "ce1/x", "$(X)", "ce-", "ce1\n"],
)
def test_what_is_no_endpoint(endpoint: str) -> None:
    with pytest.raises(ValueError, match=r"write for example ce1\.example\.org:9619"):
        HOST.read(endpoint)


@pytest.mark.parametrize(
    ("endpoint", "host"), [("ce1", "ce1"), ("10.0.0.1:9619", "10.0.0.1"), ("[fd00::1]", "[fd00::1]")]
)
def test_what_is_an_endpoint(endpoint: str, host: str) -> None:
    assert HOST.read(endpoint)["host"] == host
    assert HOST.read(endpoint)["port"] == "9619"


def test_an_endpoint_that_a_row_cannot_take_is_refused() -> None:
    with pytest.raises(Refused, match="endpoint: 'a b' cannot be such an endpoint"):
        render(context(), order("condor", "a b"))


CLASSIC_ENVIRONMENT = {
    "PANDA_JSID": "fac-1",
    "GTAG": "http://logs.test/2026-01-02/Q1/$(Cluster).$(Process).out",
    "APFCID": "$(Cluster).$(Process)",
    "APFFID": "fac-1",
    "APFMON": "http://mon.test/api",
    "FACTORYQUEUE": "Q1",
    "FACTORYUSER": "apf",
    "FACTORY_JOBID": "host1#$(Cluster).$(Process)",
    "VAR": "value",
}
CLASSIC = {
    "Dir": "/logs/2026-01-02/Q1/",
    "notify_user": "apf@example.org",
    "+MATCH_APF_QUEUE": '"Q1"',
    "+FACTORY_JOBID": '"host1#$(Cluster).$(Process)"',
    "+APF_QUEUE": '"Q1"',
    "+APF_LOGURL": '"http://logs.test/2026-01-02/Q1/$(Cluster).$(Process).log"',
    "+APF_OUTURL": '"http://logs.test/2026-01-02/Q1/$(Cluster).$(Process).out"',
    "+APF_ERRURL": '"http://logs.test/2026-01-02/Q1/$(Cluster).$(Process).err"',
    "executable": "/opt/wrapper.sh",
    "arguments": "\"'-s' 'SITE'\"",
    "output": "$(Dir)/$(Cluster).$(Process).out",
    "error": "$(Dir)/$(Cluster).$(Process).err",
    "log": "$(Dir)/$(Cluster).$(Process).log",
    "stream_output": "False",
    "stream_error": "False",
    "notification": "Error",
    "transfer_executable": "True",
    "universe": "grid",
    "x509userproxy": "/proxies/p1",
    "+Nonessential": "True",
    "periodic_hold": "GlobusResourceUnavailableTime =!= UNDEFINED",
}
OUR_TAGS = {
    "+APF_FACTORY": '"fac-1"',
    "+APF_HOST": '"host1"',
    "+APF_SHAPE": '"1c"',
    "+APF_SUBMISSION": '"s-1"',
}


@pytest.mark.parametrize(
    ("subtype", "endpoint", "shape", "options", "lines"),
    [
        (
            "gt2",
            "gridgk05.racf.bnl.gov/jobmanager-condor",
            Shape(),
            {},
            {
                "grid_resource": "gt2 gridgk05.racf.bnl.gov/jobmanager-condor",
                "globusrsl": "(queue=long)(jobtype=single)",
                "copy_to_spool": "True",
            },
        ),
        (
            "gt5",
            "gk.example.org:2119/jobmanager-pbs",
            Shape(8, 16000, 172801),
            {"globusrsl_add": "(project=atlas)"},
            {
                "grid_resource": "gt5 gk.example.org:2119/jobmanager-pbs",
                "globusrsl": "(queue=long)(jobtype=single)(xcount=8)(host_xcount=1)(maxMemory=16000)(maxWallTime=2881)"
                "(project=atlas)",
                "copy_to_spool": "True",
            },
        ),
        (
            "gt2",
            "gk.example.org",
            Shape(),
            {"globusrsl": "(jobtype=single)(count=1)"},
            {
                "grid_resource": "gt2 gk.example.org",
                "globusrsl": "(jobtype=single)(count=1)",
                "copy_to_spool": "True",
            },
        ),
        (
            "cream",
            "lcgce04.gridpp.rl.ac.uk:8443",
            Shape(),
            {"lrms": "pbs"},
            {"grid_resource": "cream https://lcgce04.gridpp.rl.ac.uk:8443/ce-cream/services/CREAM2 pbs long"},
        ),
    ],
)
def test_the_classics_descriptions_attribute_for_attribute(
    subtype: str, endpoint: str, shape: Shape, options: dict[str, str], lines: dict[str, str]
) -> None:
    made = order(subtype, endpoint, shape, **options)
    queue = replace(
        made.queue,
        environment={"VAR": "value"},
        submit={"periodic_hold": "GlobusResourceUnavailableTime =!= UNDEFINED"},
    )
    full = replace(
        made,
        queue=queue,
        proxy=Path("/proxies/p1"),
        log_url="http://logs.test/2026-01-02/Q1",
        monitor_url="http://mon.test/api",
        arguments=("-s", "SITE"),
    )
    description = render(context(admin_email="apf@example.org"), full)
    assert dict(word.split("=", 1) for word in parse_words(description.pop("environment"))) == CLASSIC_ENVIRONMENT
    tags = OUR_TAGS | {"+APF_SHAPE": f'"{shape.tag()}"', "+APF_ENDPOINT": f'"{endpoint}"'}
    assert description == CLASSIC | tags | lines


def test_written_as_a_file_of_condor_submit() -> None:
    assert written({"universe": "grid", "+A": '"b"'}, 3) == 'universe = grid\n+A = "b"\nqueue 3\n'


def test_a_queue_without_its_row_is_refused() -> None:
    with pytest.raises(Refused, match="has no row 'grid nordugrid'"):
        render(context(), order("nordugrid", "ce1"))
