"""The options of a `[cric NAME]` section."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from autopyfactory.config.fields import AbsolutePath, Duration, Kind, Number, Options, Words, fraction
from autopyfactory.logs import mask

PLACE = "{queue}"
"""Stands in a URL for the name of each queue that `queues` lists."""


def _url(text: object) -> str:
    """Read an address with a path."""
    said = str(text).strip()
    if said and not said.startswith(("http://", "https://")):
        raise ValueError(f"'{mask(said)}' is no address, write one that begins with http:// or https://, or use file")
    return said


_URL = Annotated[str, BeforeValidator(_url), Kind("address with path")]


class CricOptions(Options):
    """`[cric NAME]`: where the document is, which of its queues are meant."""

    url: _URL = Field("", description=f"address of the document; {PLACE} in it stands for each name in queues")
    file: AbsolutePath | None = Field(None, description="the document as a file, for example on CVMFS, instead of url")
    http_proxy: _URL = Field("", description="proxy to the url")
    ca: AbsolutePath | None = Field(None, description="file or folder of trusted certificates, for an https url")
    certificate: AbsolutePath | None = Field(
        None, description="certificate, with its key or a proxy, that CRIC knows us by"
    )
    key: AbsolutePath | None = Field(None, description="key of the certificate, where it is a file of its own")
    refresh: Duration = Field(600.0, ge=0.1, description="time between two looks at the document")
    deadline: Duration = Field(60.0, gt=0, description="for the whole of one question and its answer")
    max_age: Duration = Field(86400.0, gt=0, description="an older document is still used, with a warning")
    min_part: Number = Field(
        fraction("0.7"),
        ge=0,
        le=1,
        description="a document with less than this part of the last one's queues is not believed",
    )
    vo: Words = Field((), description="virtual organisations whose queues are meant; empty: all")
    cloud: Words = Field((), description="clouds; empty: all")
    site: Words = Field((), description="sites, by panda_site or atlas_site; empty: all")
    activity: Words = Field((), description="production, analysis, unified, ...: the type of a queue; empty: all")
    pilot_manager: Words = Field((), description="pilot managers; empty: all, with a warning for those of another one")
    queues: Words = Field((), description="names or patterns (LAB_*) of queues; empty: all")
    skip: Words = Field((), description="names or patterns of queues that are not meant")

    @model_validator(mode="after")
    def _one_origin(self) -> "CricOptions":
        if bool(self.url) == bool(self.file):
            raise ValueError("set either url or file")
        if PLACE in self.url and not (self.queues and not any(set("*?[") & set(name) for name in self.queues)):
            raise ValueError(f"a url with {PLACE} needs queues, a list of names without patterns")
        return self

    @property
    def origin(self) -> str:
        """Return where the document is, for messages, without a password."""
        return mask(self.url) if self.url else str(self.file)

    @property
    def missing(self) -> str:
        """Say why there is no document and what to do, when none is kept and the file is not there."""
        if self.file:
            return f"there is no file {self.file}, correct file or put the document there"
        return "there is no document yet, the running factory fetches it"

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return what has to be asked: one address, or one for each queue."""
        if PLACE not in self.url:
            return (self.url,)
        return tuple(self.url.replace(PLACE, name) for name in self.queues)

    @property
    def client(self) -> tuple[Path, Path] | None:
        """Return the files of certificate and key, None without a certificate."""
        return (self.certificate, self.key or self.certificate) if self.certificate else None
