"""A catalogue of plug-ins that need nothing, and a folder of configuration files."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, Field, SecretStr, model_validator

from autopyfactory.config import models
from autopyfactory.config.catalogue import BATCH, MONITOR, WMS, Catalogue
from autopyfactory.config.fields import Boolean, Duration, Options, Rate, Secret
from autopyfactory.config.loader import load
from autopyfactory.config.problems import Fault

MAIN = """\
[factory]
id = test
[wms panda]
url = http://panda.example.org
"""
QUEUE = """\
wms = panda
wmsqueue = Q
backend = condor
type = vanilla
"""


class ScheddOptions(Options):
    place: ClassVar[tuple[str, ...]] = ("name",)

    name: str = ""
    interval: Duration = 30.0
    max_submit_rate: Rate | None = Field(None, gt=0)


class CondorQueueOptions(Options):
    spool: Boolean | None = None
    requirements: str = ""


class Condor:
    source_kind: ClassVar[str] = "schedd"
    SourceOptions = ScheddOptions
    QueueOptions = CondorQueueOptions

    @classmethod
    def check_submit(cls, submit: Mapping[str, str]) -> Iterator[Fault]:
        for name in submit:
            if name == "crash":
                raise RuntimeError("oh")
            if name.startswith("no"):
                yield Fault(f"submit.{name}", "take it out", warning=name == "nod")


class HostOptions(Options):
    slots: int = Field(2, ge=1)


class ForkQueueOptions(Options):
    allow_same_user: Boolean = False


class Fork:
    source_kind: ClassVar[str] = "fork"
    reads_submit: ClassVar[bool] = False
    SourceOptions = HostOptions
    QueueOptions = ForkQueueOptions

    @classmethod
    def check(
        cls,
        options: models.QueueOptions,
        backend: ForkQueueOptions,
        factory: models.FactoryOptions,
        credentials: Mapping[str, models.CredentialOptions],
    ) -> list[str]:
        if options.submit_user == "crash":
            raise RuntimeError("oh")
        if options.submit_user == "warn":
            return ["warning: submit_user: mind it", "warning: cores: never told", "warning: mind: this too"]
        if not options.submit_user:
            return ["needs an account: set submit_user"]
        return [] if options.submit_user in factory.submit_users else ["submit_user: is not in submit_users"]


class Strict:
    """A backend that cannot do without a section of its own, and has no row in the table."""

    source_kind: ClassVar[str] = "controller"

    class SourceOptions(Options):
        host: str

    class QueueOptions(Options):
        pass


class Panda:
    class Options(Options):
        url: str
        interval: Duration = Field(60.0, ge=1)
        password: Secret = SecretStr("")

        @model_validator(mode="after")
        def _sensible(self) -> "Panda.Options":
            if self.url == "http://bad":
                raise ValueError("this url cannot serve")
            return self


class Static:
    class Options(Options):
        model_config = ConfigDict(extra="allow")


class Apfmon:
    class Options(Options):
        url: str = "http://localhost"


PLUGINS: dict[tuple[str, str], Any] = {
    (BATCH, "condor"): Condor,
    (BATCH, "fork"): Fork,
    (BATCH, "strict"): Strict,
    (WMS, "panda"): Panda,
    (WMS, "static"): Static,
    (WMS, "broken"): ImportError("no module named x"),
    (MONITOR, "apfmon"): Apfmon,
}


def catalogue(more: Mapping[tuple[str, str], Any] | None = None) -> Catalogue:
    """Return the fakes; an exception in place of a class is raised when it is imported."""
    known = PLUGINS | dict(more or {})

    def find(group: str, name: str) -> Any:
        found = known[group, name]
        if isinstance(found, Exception):
            raise found
        return found

    return Catalogue(lambda group: [name for at, name in known if at == group], find)


class Files:
    """Configuration files in a folder, and what `load` makes of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.main = folder / "autopyfactory.conf"
        self.write("autopyfactory.conf", MAIN)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def load(self, more: Mapping[tuple[str, str], Any] | None = None) -> models.Config:
        return load(self.main, catalogue(more))

    def texts(self, more: Mapping[tuple[str, str], Any] | None = None) -> list[str]:
        """Return the problems as an admin sees them, the folder's path left out."""
        return list(dict.fromkeys(self.shorten(str(problem)) for problem in self.load(more).problems))

    def queue(self, extra: str, *, base: str = QUEUE) -> list[str]:
        """Return the problems of one queue [Q] with these options; its first own line is line 6."""
        self.write("queues.conf", f"[Q]\n{base}{extra}\n")
        return self.texts()

    def shorten(self, text: str) -> str:
        return text.replace(f"{self.folder}/", "")
