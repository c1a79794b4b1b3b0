"""The options of `[fork NAME]`, and what can be wrong with the account of a queue's pilots."""

import os
from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from autopyfactory.config.fields import Boolean, Duration, Options, check_longer
from autopyfactory.config.models import CredentialOptions, FactoryOptions, QueueOptions


class ForkOptions(Options):
    """`[fork NAME]` of autopyfactory.conf."""

    slots: int = Field(
        default_factory=lambda: len(os.sched_getaffinity(0)), ge=1, description="cores of this host for pilots"
    )
    interval: Duration = Field(5.0, ge=0.1, description="time between two looks at the pilots")
    max_age: Duration = Field(60.0, gt=0, description="older counts of pilots are not believed")
    deadline: ClassVar[float] = 10.0
    """More than any call of this host takes, so nothing for the admin to choose."""
    grace: Duration = Field(20.0, ge=0, description="time between TERM and KILL for a pilot that has to end")

    @model_validator(mode="after")
    def _sensible(self) -> "ForkOptions":
        check_longer(self, "max_age", "interval")
        return self


class ForkQueueOptions(Options):
    """What the fork backend adds to a queue."""

    allow_same_user: Boolean = Field(False, description="pilots may run as the factory's own account")


def same_allowed(backend: Options) -> bool:
    """Tell whether pilots of a queue may run as the factory's own account."""
    return isinstance(backend, ForkQueueOptions) and backend.allow_same_user


def problems(
    options: QueueOptions, backend: Options, factory: FactoryOptions, credentials: Mapping[str, CredentialOptions]
) -> list[str]:
    """Return what is wrong with the account of a queue's pilots: it must not be able to read our credentials."""
    user, same = options.submit_user, same_allowed(backend)
    found = []
    if not user and not same:
        found.append("submit_user: is missing, name an account for the pilots (or set allow_same_user = yes)")
    if user and user not in factory.submit_users:
        found.append(f"submit_user: '{user}' is not allowed, add it to submit_users in [factory]")
    if user and user == factory.user:
        found.append(f"submit_user: '{user}' is the factory's own account, name another one")
    if same and credentials:
        first = next(iter(credentials))
        found.append(f"allow_same_user: pilots could read the files of [credential {first}], set submit_user instead")
    if options.proxy:
        found.append("warning: proxy: is never read: the fork backend hands no proxy to its pilots")
    return found
