"""LSF's commands over the pretended system: tables as observed on OpenLava 4.0, JSON as documented for 10.1."""

import json
import shlex
import sys
import time
from typing import Any

from .engine import Folder, State

WIDTH = 79
HEAD = "JOBID   USER    STAT  QUEUE      FROM_HOST   EXEC_HOST   JOB_NAME   SUBMIT_TIME"
USAGE = """\
bjobs: invalid option -- 'o'
Usage: bjobs [-h] [-V] [-w |-l] [-W] [-a] [-d] [-p] [-s] [-r] [-g job_group]
             [-A] [-m host_name] [-q queue_name] [-u user_name | -u all]
             [-P project_name] [-N host_spec] [-J name_spec] [-UF] [-WL|-WP|-WF] [-noheader]
             [jobId | "jobId[idxList]" ...]"""
LOADS = """\
 SCHEDULING PARAMETERS:
           r15s   r1m  r15m   ut      pg    io   ls    it    tmp    swp    mem
 loadSched   -     -     -     -       -     -    -     -     -      -      -\x20\x20
 loadStop    -     -     -     -       -     -    -     -     -      -      -\x20\x20

"""
WITH_VALUE = {
    "bsub": {"-q", "-J", "-o", "-e", "-i", "-W", "-n", "-R", "-P", "-env", "-M", "-G", "-L"},
    "bjobs": {"-u", "-o"},
}


def bsub(argv: list[str]) -> int:
    """Submit a command, or the script on stdin."""
    folder = Folder.of_command()
    options, words = _options("bsub", argv)
    script = f"exec {shlex.join(words)}\n" if words else sys.stdin.read()
    options = _directives(script) | options
    _wait(folder)
    with folder.state() as state:
        queue, said = options.get("-q") or "normal", folder.refusal(state)
        if "-env" in options and not state.conf["json"]:
            return _complain("bsub: invalid option -- 'e'", 255)
        if queue not in state.conf["queues"]:
            said = f"{queue}: No such queue. Job not submitted."
        if said:
            return _complain(said, 255)
        job = {
            "queue": queue,
            "cores": int(options.get("-n", 1)),
            "name": options.get("-J") or (words[0] if words else "#!/bin/sh"),
            "output": options.get("-o", "/dev/null"),
            "error": options.get("-e", options.get("-o", "/dev/null")),
            "shell": options.get("-L", "/bin/sh"),
            "asked": {name: options[name] for name in ("-n", "-R", "-W") if name in options},
            "command": " ".join(words) or script.replace("\n", ";")[:200],
        } | ({"state": "held"} if "-H" in options else {})
        number = folder.submit(state, script, job)
    default = "" if "-q" in options else "default "
    print(f"Job <{number}> is submitted to {default}queue <{queue}>.")
    return 0


def bjobs(argv: list[str]) -> int:
    """Show jobs: a table, all there is with -l, or some fields as JSON."""
    folder = Folder.of_command()
    options, ids = _options("bjobs", argv)
    _wait(folder)
    with folder.state() as state:
        if "-o" in options and not state.conf["json"]:
            return _complain(USAGE, 255)
        chosen = _chosen(state, ids, ended="-a" in options)
    for id_ in ids:
        if id_ not in chosen:
            _complain(f"Job <{id_}> is not found", 255)
    if not chosen:
        return 255 if ids else _complain(f"No {'' if '-a' in options else 'unfinished '}job found", 255)
    if "-json" in options:
        print(_paper(chosen, options["-o"].split()))
    elif "-l" in options:
        print(f"{'-' * 78}\n".join(_long(number, job) for number, job in chosen.items()))
    else:
        rows = [_row(number, job, wide="-w" in options) for number, job in chosen.items()]
        print("\n".join([*([] if "-noheader" in options else [HEAD]), *rows]))
    return 255 if len(chosen) < len(ids) else 0


def bhist(argv: list[str]) -> int:
    """Show the history of jobs, as with -l."""
    folder = Folder.of_command()
    options, ids = _options("bhist", argv)
    _wait(folder)
    with folder.state() as state:
        known = {id_: state.jobs[id_] for id_ in ids or state.jobs if id_ in state.jobs}
    if not known and "-a" not in options:
        return _complain("No matching job found", 255)
    print(f"{'-' * 78}\n".join(_history(number, job) for number, job in known.items()))
    return 0


def bkill(ids: list[str]) -> int:
    """Remove jobs."""
    folder = Folder.of_command()
    _wait(folder)
    with folder.state() as state:
        return max([_remove(folder, state, id_) for id_ in ids], default=255)


def fold(text: str) -> str:
    """Break a line of `bjobs -l` at column 79, inside words too."""
    first, rest = text[:WIDTH], text[WIDTH:]
    lines = [first]
    while len(lines[-1]) == WIDTH:
        lines.append(" " * 21 + rest[: WIDTH - 21])
        rest = rest[WIDTH - 21 :]
    return "\n".join(lines)


def _directives(script: str) -> dict[str, str]:
    words = [shlex.split(line.removeprefix("#BSUB")) for line in script.splitlines() if line.startswith("#BSUB ")]
    return {name: value for line in words for name, value in _options("bsub", line)[0].items()}


def _options(command: str, argv: list[str]) -> tuple[dict[str, str], list[str]]:
    options, rest = {}, list(argv)
    while rest and rest[0].startswith("-"):
        name = rest.pop(0)
        options[name] = rest.pop(0) if name in WITH_VALUE.get(command, ()) else ""
    return options, rest


def _chosen(state: State, ids: list[str], *, ended: bool) -> dict[str, dict[str, Any]]:
    if ids:
        return {id_: state.jobs[id_] for id_ in ids if id_ in state.jobs}
    over = {number: job for number, job in state.jobs.items() if _word(job) in {"DONE", "EXIT"}}
    living = {number: job for number, job in state.jobs.items() if number not in over}
    return living | (over if ended else {})


def _word(job: dict[str, Any]) -> str:
    end = "DONE" if job.get("code") == 0 else "EXIT"
    words = {"pending": "PEND", "held": "PSUSP", "running": "RUN", "ending": end, "ended": end}
    return str(job.get("word") or words[job["state"]])


def _row(number: str, job: dict[str, Any], *, wide: bool) -> str:
    user, name, host = job["user"], job["name"], "vm" if "started" in job else "   -" if wide else ""
    if not wide:
        user, name = user[:7], name if len(name) <= 10 else f"*{name[-9:]}"
    at = time.strftime("%b %e %H:%M", time.localtime(job["submitted"]))
    columns = f"{number:<7} {user:<7} {_word(job):<5} {job['queue']:<10} {'vm':<11} {host:<11} {name:<10} {at}"
    return columns if wide else f"{columns}  "


def _long(number: str, job: dict[str, Any]) -> str:
    head = (
        f"Job Id <{number}>, Job Name <{job['name']}>, User <{job['user']}>, Project <default>, "
        f"Status <{_word(job)}>, Queue <{job['queue']}>, Command <{job['command']}>"
    )
    lines = [head, f"{_time(job['submitted'])}: Submitted from host <vm>, CWD </>, Output File <{job['output']}>;"]
    if "started" in job:
        lines.append(f"{_time(job['started'])}: Started on <vm>, Execution Home </>, Execution CWD </>;")
    if job["state"] in {"ending", "ended"}:
        lines.append(f"{_time(job['ended'])}: {_end(job)} The CPU time used is 0.0 seconds.")
    return "\n" + "\n".join(map(fold, lines)) + f"\n\n{LOADS}"


def _history(number: str, job: dict[str, Any]) -> str:
    head = (
        f"Job <{number}>, Job Name <{job['name']}>, User <{job['user']}>, Project <default>, Command <{job['command']}>"
    )
    lines = [head, f"{_time(job['submitted'])}: Submitted from host <vm> to Queue <{job['queue']}>, CWD </>;"]
    if "started" in job:
        at = _time(job["started"])
        lines += [f"{at}: Dispatched to <vm>;", f"{at}: Starting (Pid {job['pid']});"]
        lines.append(f"{at}: Running with execution home </>, Execution CWD </>, Execution Pid <{job['pid']}>;")
    if job.get("killed"):
        lines.append(
            f"{_time(job.get('ended', time.time()))}: Signal <KILL> requested by user or administrator <{job['user']}>;"
        )
    if job["state"] in {"ending", "ended"}:
        lines.append(f"{_time(job['ended'])}: {_end(job).rstrip('.')}. The CPU time used is 0.0 seconds;")
    return "\n" + "\n".join(map(fold, lines)) + "\n"


def _end(job: dict[str, Any]) -> str:
    code = job["code"]
    if code == 0:
        return "Done successfully."
    if code is None or job.get("killed"):
        return "Exited; TERM_OWNER: job killed by owner."
    return f"Exited by signal {code - 128}." if code > 128 else f"Exited with exit code {code}."


def _paper(jobs: dict[str, dict[str, Any]], names: list[str]) -> str:
    records = [{name.upper(): _field(number, job, name) for name in names} for number, job in jobs.items()]
    text = json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)
    return text.replace('": ', '":')


def _field(number: str, job: dict[str, Any], name: str) -> str:
    code, removed = job.get("code"), bool(job.get("killed"))
    fields = {
        "jobid": number,
        "stat": _word(job),
        "user": job["user"],
        "queue": job["queue"],
        "exec_host": "vm" if "started" in job else "",
        "job_name": job["name"],
        "exit_code": str(code) if code and not removed else "",
        "exit_reason": "TERM_OWNER: job killed by owner" if removed and "ended" in job else "",
    }
    return str(fields[name])


def _remove(folder: Folder, state: State, number: str) -> int:
    job = state.jobs.get(number)
    if job is None:
        return _complain(f"Job <{number}>: No matching job found", 255)
    if job["state"] in {"ending", "ended"}:
        return _complain(f"Job <{number}>: Job has already finished", 255)
    folder.kill(job)
    print(f"Job <{number}> is being terminated")
    return 0


def _wait(folder: Folder) -> None:
    """Wait for the server as LSF's commands do: for ever."""
    if not folder.server():
        _complain("LSF is down. Please wait ...", 0)
        sys.stderr.flush()
        while not folder.server():
            time.sleep(0.2)


def _time(at: float) -> str:
    return time.strftime("%a %b %e %H:%M:%S", time.localtime(at))


def _complain(text: str, rc: int) -> int:
    print(text, file=sys.stderr)
    return rc
