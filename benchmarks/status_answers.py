"""5,000 pilots in one status answer, read per system: recorded jobs, repeated; beside plain JSON of that size."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from autopyfactory.batch.commands_words import Answer, Commands, Tags
from autopyfactory.batch.condor_child import Ad, Survey
from autopyfactory.batch.condor_states import pilot_groups
from autopyfactory.batch.lsf import LsfCommands
from autopyfactory.batch.sge import SgeCommands
from autopyfactory.batch.slurm import SlurmCommands
from autopyfactory.batch.tally import tally
from autopyfactory.batch.torque import TorqueCommands
from benchmarks.decide import seconds
from benchmarks.table import show, times
from tests.testbed.standin.torque import fold

PILOTS = 5000
ROUNDS = 5
DATA = Path(__file__).parents[1] / "tests/data"
TAGS = Tags("F1", "Q", "20261122T190000-abcdef012345", "mws8dguc.0", "host.example.org", "ce1", "8c-16000m").text()


def slurm() -> str:
    """Return `squeue --json`: a job of Slurm 22.05 has a hundred fields more than are read."""
    paper = json.loads((DATA / "slurm/squeue-22.05.json").read_text())
    job = paper["jobs"][3] | {f"field_{k}": "" for k in range(100)} | {"comment": TAGS}
    return json.dumps({"jobs": [job | {"job_id": k} for k in range(PILOTS)], "errors": []})


def torque() -> str:
    """Return `qstat -f`, its lines folded as Torque folds them."""
    recorded = (DATA / "batch/torque-qstat-f.txt").read_text()
    one = recorded[recorded.index("Job Id: 9.localhost") :].partition("\n\n")[0]
    one = one.replace("    comment", fold("Variable_List", f"X=1,APF_TAGS={TAGS}") + "    comment")
    return "".join(f"{one}\n\n".replace("9.localhost", f"{k}.localhost", 1) for k in range(PILOTS))


def lsf_json() -> str:
    """Return `bjobs -json` of LSF 10."""
    one = {"JOBID": "1", "STAT": "RUN", "USER": "me", "EXIT_CODE": "", "EXIT_REASON": "", "JOB_NAME": TAGS}
    return json.dumps({"JOBS": PILOTS, "RECORDS": [one | {"JOBID": str(k)} for k in range(PILOTS)]})


def lsf_table() -> str:
    """Return `bjobs -w` of OpenLava."""
    head = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME\n"
    return head + "".join(f"{k} me RUN grid vm vm {TAGS} Nov 22 16:22\n" for k in range(PILOTS))


def sge() -> str:
    """Return `qstat -xml` of Grid Engine."""
    recorded = (DATA / "batch/sge-states.txt").read_text()
    job = recorded[recorded.index('    <job_list state="running">') :].partition("  </queue_info>")[0]
    one = re.sub("APF3[^<]*", TAGS.replace(":", "+"), job[: job.index("    <job_list", 1)])
    jobs = "".join(one.replace(">55<", f">{k}<", 1) for k in range(PILOTS))
    return f"<?xml version='1.0'?>\n<job_info><queue_info>\n{jobs}</queue_info><job_info></job_info></job_info>\n"


def condor() -> Survey:
    """Return a schedd's grouped answer: what crosses the child's pipe, one group per submission of ten."""
    ads: list[Ad] = [
        {
            "APF_SUBMISSION": f"20261122T190000-{k:012x}",
            "APF_QUEUE": f"Q{k % 50}",
            "APF_HOST": "host.example.org",
            "APF_ENDPOINT": "ce1",
            "APF_SHAPE": "8c-16000m",
            "JobUniverse": 5,
            "JobStatus": 1 + k % 2,
            "JobCount": 10,
        }
        for k in range(PILOTS // 10)
    ]
    return Survey(tuple(ads))


def listing(commands: Commands, text: str) -> Callable[[], int]:
    """Return a reading of one answer that tells how many pilots it found."""
    return lambda: len(commands.listed(Answer(0, text)))


def main() -> None:
    """Measure and print."""
    survey = condor()
    works: dict[str, tuple[Callable[[], int], int]] = {}
    for name, commands, text in (
        ("Slurm, squeue --json", SlurmCommands(), slurm()),
        ("Torque, qstat -f", TorqueCommands(), torque()),
        ("LSF, bjobs -json", LsfCommands(), lsf_json()),
        ("LSF, tables of bjobs", LsfCommands(tables=True), lsf_table()),
        ("Grid Engine, qstat -xml", SgeCommands(), sge()),
    ):
        works[name] = listing(commands, text), len(text)
    works["HTCondor, grouped, added up"] = lambda: tally(pilot_groups(survey)).in_flight, len(str(survey))
    rows = []
    for name, (work, size) in works.items():
        if (found := work()) != PILOTS:
            raise SystemExit(f"{name}: {found} pilots of {PILOTS}")
        plainly = partial(
            json.loads, json.dumps([{"key": "value of forty characters, no more than it"}] * (size // 55))
        )
        pairs = [(seconds(work), seconds(plainly)) for _ in range(ROUNDS)]
        took, plain = (median(column) for column in zip(*pairs, strict=True))
        rows.append([name, f"{size / 1e6:.1f}", f"{took:.3f}", times(took / plain)])
    show(f"{PILOTS} pilots in one answer", ["", "MB", "seconds", "time : JSON of this size"], rows)


if __name__ == "__main__":
    main()
