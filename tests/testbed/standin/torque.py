"""Torque's commands over the pretended system: output, streams and exit codes as observed on 2.5.13."""

import getopt
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .engine import Folder, State

SERVER = "localhost"
WIDTH = 78
OPTIONS = "q:l:N:o:e:v:VA:W:r:m:F:hS:"
HEAD = """\
Job ID                    Name             User            Time Use S Queue
------------------------- ---------------- --------------- -------- - -----
"""
# Torque exits with the last byte of its error number.
CODES = {"Unknown queue": 172, "Bad UID": 175, "Server shutting down": 214, "Maximum number of jobs": 198}


def qsub(argv: list[str]) -> int:
    """Submit a script, from a file or stdin."""
    folder = Folder.of_command()
    pairs, words = getopt.getopt(argv, OPTIONS)
    if words and not Path(words[0]).exists():
        return _complain(f"qsub: script file '{words[0]}' cannot be loaded - No such file or directory", 1)
    script = Path(words[0]).read_text() if words else sys.stdin.read()
    pairs = [*_directives(script), *pairs]
    options = dict(pairs) | {"-l": ",".join(value for name, value in pairs if name == "-l")}
    if not folder.server():
        return _down("qsub", 111)
    queue = options.get("-q", "normal")
    with folder.state() as state:
        said = folder.refusal(state)
        if queue not in state.conf["queues"]:
            said = "Unknown queue MSG=cannot locate queue"
        if said:
            return _complain(f"qsub: {said}", next((rc for text, rc in CODES.items() if said.startswith(text)), 1))
        variables = dict(item.partition("=")[::2] for item in options.get("-v", "").split(",") if item)
        number = folder.submit(state, script, _job(options, queue, variables, " ".join(argv)))
    print(f"{number}.{SERVER}")
    return 0


def qstat(argv: list[str]) -> int:
    """Show jobs: the table, or all attributes with -f."""
    folder = Folder.of_command()
    pairs, ids = getopt.getopt(argv, "f1")
    if not folder.server():
        return _down("qstat", 255)
    with folder.state() as state:
        numbers = [id_.partition(".")[0] for id_ in ids] or sorted(state.jobs, key=int)
        known = [number for number in numbers if number in state.jobs]
        if pairs:
            broken = fold if ("-1", "") not in pairs else _whole
            sys.stdout.write("".join(_full(number, state.jobs[number], broken) for number in known))
        elif known:
            sys.stdout.write(HEAD + "".join(_row(number, state.jobs[number]) for number in known))
    for number in numbers:
        if number not in known:
            return _complain(f"qstat: Unknown Job Id {number}.{SERVER}", 153)
    return 0


def qdel(ids: list[str]) -> int:
    """Remove jobs."""
    folder = Folder.of_command()
    if not folder.server():
        return _down("qdel", 255)
    with folder.state() as state:
        return max([_remove(folder, state, id_.partition(".")[0]) for id_ in ids], default=2)


def fold(key: str, value: str) -> str:
    """Write an attribute as Torque does: broken at commas, a long item anywhere, and a TAB on the next line."""
    text = f"    {key} = "
    column = len(text)
    for place, item in enumerate(value.split(",")):
        if place:
            text, column = f"{text},", column + 1
        if column + len(item) >= WIDTH and place:
            text, column = f"{text}\n\t", 8
        for letter in item:
            if column == WIDTH:
                text, column = f"{text}\n\t", 8
            text, column = text + letter, column + 1
    return f"{text}\n"


def _whole(key: str, value: str) -> str:
    return f"    {key} = {value}\n"


def _directives(script: str) -> list[tuple[str, str]]:
    lines = [line.removeprefix("#PBS") for line in script.splitlines() if line.startswith("#PBS ")]
    return [pair for line in lines for pair in getopt.getopt(shlex.split(line), OPTIONS)[0]]


def _job(options: dict[str, str], queue: str, variables: dict[str, str], line: str) -> dict[str, Any]:
    resources = dict(item.partition("=")[::2] for item in options.get("-l", "").split(",") if item)
    return {
        "queue": queue,
        "cores": int(resources.get("nodes", "").partition(":ppn=")[2].partition(":")[0] or 1),
        "name": options.get("-N", "STDIN")[:15],
        "output": options.get("-o", "/dev/null").rpartition(":")[2],
        "error": options.get("-e", "/dev/null").rpartition(":")[2],
        "resources": resources,
        "environment": variables,
        "shell": options.get("-S", "/bin/sh"),
        "line": line,
    } | ({"state": "held"} if "-h" in options else {})


def _word(job: dict[str, Any]) -> str:
    words = {"pending": "Q", "held": "H", "running": "R", "ending": "E", "ended": "C"}
    return str(job.get("word") or words[job["state"]])


def _status(code: int) -> int:
    return 256 + code - 128 if code > 128 else code


def _full(number: str, job: dict[str, Any], broken: Callable[[str, str], str]) -> str:
    user, home, queue = job["user"], f"/home/{job['user']}", job["queue"]
    variables = [
        *(f"PBS_O_QUEUE={queue}", f"PBS_O_HOST={SERVER}", f"PBS_O_HOME={home}", "PBS_O_LANG=C.UTF-8"),
        *(f"PBS_O_LOGNAME={user}", "PBS_O_PATH=/usr/local/bin:/usr/bin:/bin", "PBS_O_SHELL=/bin/bash"),
        *("PBS_SERVER=vm", f"PBS_O_WORKDIR={home}"),
        *(f"{name}={value}" for name, value in job["environment"].items()),
    ]
    ran, over = "started" in job, job["state"] in {"ending", "ended"}
    pairs = {
        "Job_Name": job["name"],
        "Job_Owner": f"{user}@{SERVER}",
        "resources_used.walltime": "00:00:01" if ran else None,
        "job_state": _word(job),
        "queue": queue,
        "server": SERVER,
        "Checkpoint": "u",
        "ctime": _time(job["submitted"]),
        "Error_Path": f"{SERVER}:{job['error']}",
        "exec_host": "vm/1" if ran else None,
        "Hold_Types": "u" if job["state"] == "held" else "n",
        "Join_Path": "n",
        "Keep_Files": "n",
        "Mail_Points": "n",
        "mtime": _time(job.get("ended") or job.get("started") or job["submitted"]),
        "Output_Path": f"{SERVER}:{job['output']}",
        "Priority": "0",
        "qtime": _time(job["submitted"]),
        "Rerunable": "False",
        **{f"Resource_List.{name}": value for name, value in sorted(job["resources"].items())},
        "session_id": str(job["pid"]) if ran else None,
        "Variable_List": ",".join(variables),
        "comment": f"Job started on {time.strftime('%a %b %d at %H:%M', time.localtime(job['started']))}"
        if ran
        else None,
        "etime": _time(job["submitted"]),
        "exit_status": str(_status(job["code"])) if over and job["code"] is not None else None,
        "submit_args": job["line"],
        "start_time": _time(job["started"]) if ran else None,
        "start_count": "1" if ran else None,
        "fault_tolerant": "False",
        "comp_time": _time(job["ended"]) if job["state"] == "ended" else None,
        "submit_host": SERVER,
        "init_work_dir": home,
    }
    return (
        f"Job Id: {number}.{SERVER}\n"
        + "".join(broken(key, value) for key, value in pairs.items() if value is not None)
        + "\n"
    )


def _row(number: str, job: dict[str, Any]) -> str:
    used = "00:00:00" if "started" in job else "0"
    id_ = f"{number}.{SERVER}"
    return f"{id_:<26} {job['name']:<16} {job['user']:<15} {used:>8} {_word(job)} {job['queue']:<15}\n"


def _remove(folder: Folder, state: State, number: str) -> int:
    job = state.jobs.get(number)
    if job is None:
        return _complain(f"qdel: Unknown Job Id {number}.{SERVER}", 153)
    if job["state"] in {"ending", "ended"}:
        word = {"ending": "EXITING", "ended": "COMPLETE"}[job["state"]]
        text = f"Request invalid for state of job MSG=invalid state for job - {word} {number}.{SERVER}"
        return _complain(f"qdel: {text}", 170)
    folder.kill(job)
    return 0


def _time(at: float) -> str:
    return time.strftime("%a %b %d %H:%M:%S %Y", time.localtime(at))


def _down(command: str, rc: int) -> int:
    return _complain(f"{command}: cannot connect to server {SERVER} (errno=111) Connection refused", rc)


def _complain(text: str, rc: int) -> int:
    print(text, file=sys.stderr)
    return rc
