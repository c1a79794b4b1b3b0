"""The exception tree.

    FactoryError
    ├── StartError          the daemon cannot start
    ├── ConfigError         the main configuration cannot be used; carries every problem found
    ├── SourceError         a source (WMS, schedd, batch system) gave no information
    │   └── Unasked         an order for some pilots surely reached nobody
    ├── UnknownWmsqueue     a good answer of the WMS does not know the name: probably a typo
    ├── MonitorError        a monitor could not be told
    ├── CredentialError     a credential file cannot be used
    ├── OperateError        what an operator asked for cannot be written down, or read
    └── SubmitError         a submission did not go through whole
        ├── Refused         the batch system said no; nothing beyond `accepted` was taken
        └── Ambiguous       no answer came: the pilots may exist, and nobody may submit them again

What only one part raises stands there: `record.book.RecordError`, `record.trace.TraceError`.
Anything else that reaches a queue thread is a bug and is logged with its whole trace.
"""

from collections.abc import Iterable, Sequence


class FactoryError(Exception):
    """Root of all errors that the factory raises on purpose."""


class StartError(FactoryError):
    """The daemon cannot start; `code` is the exit code: 2 for a wrong command line, 1 for all else."""

    def __init__(self, reason: str, code: int = 1) -> None:
        super().__init__(reason)
        self.code = code


class ConfigError(FactoryError):
    """The main configuration cannot be used.

    `problems` are the texts of all problems found, each already with file, line and remedy.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class SourceError(FactoryError):
    """A source gave no information: it is down, hung, in back-off, or its answer cannot be believed.

    The message says what was asked and what came back, in one line for the admin. `stopped` is true when
    the question was abandoned because the factory stops.
    """

    def __init__(self, source: str, reason: str, *, stopped: bool = False) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason
        self.stopped = stopped


class Unasked(SourceError):
    """An order surely reached nobody: for the pilots of these `ids` nothing was tried, and nothing has changed."""

    def __init__(self, source: str, reason: str, ids: Iterable[str] = (), *, stopped: bool = False) -> None:
        super().__init__(source, reason, stopped=stopped)
        self.ids = frozenset(ids)


class UnknownWmsqueue(FactoryError):
    """The WMS answered well and does not know this wmsqueue; the message has the did-you-mean."""


class MonitorError(FactoryError):
    """A monitor could not be told; the message names it and says what came back."""


class CredentialError(FactoryError):
    """A credential file cannot be used; the message goes on from its path and carries nothing of its content."""


class OperateError(FactoryError):
    """What an operator asked for cannot be written down, or read; the message says why and what to do."""


class SubmitError(FactoryError):
    """A submission did not go through whole; `reason` is one line for the admin.

    `stopped` is true when we broke it off ourselves, at a stop or a reload: it speaks against no endpoint.
    """

    def __init__(self, reason: str, *, stopped: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stopped = stopped


class Refused(SubmitError):
    """The batch system refused; `cids` of the pilots that were accepted before the refusal."""

    def __init__(self, reason: str, *, cids: Sequence[str] = (), stopped: bool = False) -> None:
        super().__init__(reason, stopped=stopped)
        self.cids = tuple(cids)


NO_ANSWER = "no answer"
"""What the report of a cycle calls an ambiguous submission, before the reason."""


class Ambiguous(SubmitError):
    """No answer came in time, or the connection broke: the pilots may or may not exist."""
