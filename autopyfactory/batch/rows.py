"""What a queue can submit to: the rows of the table, by backend, type and subtype."""

from typing import NamedTuple


class Row(NamedTuple):
    """One thing to submit to, as the options `backend`, `type` and `subtype` name it."""

    backend: str
    type: str = ""
    subtype: str = ""
    title: str = ""


ROWS = (
    Row("condor", "vanilla", title="the pool of an HTCondor schedd"),
    Row("fork", title="child processes of this host"),
)
