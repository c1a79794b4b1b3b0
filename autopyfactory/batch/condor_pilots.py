"""Pilots one by one in a schedd: list, remove, release. Runs in its child process, as `condor_child` does."""

from autopyfactory.batch.condor_child import Ad, Target, act, ad_of, ask, plain

RELEASES = "APF_RELEASES"
"""How often we have released a job; written into it, so that a restart of the factory does not forget it."""

PILOT_KEYS = (
    *("ClusterId", "ProcId", "APF_QUEUE", "APF_ENDPOINT", "APF_SUBMISSION", "JobStatus", "QDate"),
    *("EnteredCurrentStatus", "JobUniverse", "GridJobId", "GridJobStatus"),
    *("HoldReason", "HoldReasonCode", "HoldReasonSubCode", RELEASES),
)


@plain
def pilots(target: Target, constraint: str, limit: int) -> tuple[Ad, ...]:
    """Return at most `limit` jobs one by one, each with what is known of its state."""
    jobs = ask(target, lambda schedd: schedd.query(constraint, list(PILOT_KEYS), limit=limit))
    return tuple(ad_of(job, PILOT_KEYS) for job in jobs)


@plain
def remove(target: Target, constraint: str) -> int:
    """Remove jobs and return how many."""
    return act(target, "Remove", constraint, "removed by AutoPyFactory")


@plain
def release(target: Target, constraint: str, time: int) -> int:
    """Release held jobs for the first, second, ... time, which is noted in them, and return how many.

    NumHolds does not tell it: a hold by the job's own policy counts more than once.
    """
    held = f"{constraint} && JobStatus == 5"
    if not ask(target, lambda schedd: schedd.query(held, ["ClusterId"], limit=1)):
        return 0
    ask(target, lambda schedd: schedd.edit(held, RELEASES, str(time)))
    return act(target, "Release", constraint, "released by AutoPyFactory")
