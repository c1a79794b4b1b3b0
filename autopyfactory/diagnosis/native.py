"""The commands of others that show what the factory saw, built from the configuration."""

import shlex
from collections.abc import Iterator
from typing import Any

from autopyfactory.config.models import Config, QueueConfig

WMS_FIRST = frozenset({"demand", "site status", "wmsqueue", "no demand", "miscounted"})
"""Keys of causes for which the WMS is shown first; for all others the batch system."""


def commands(config: Config, queue: QueueConfig, batch: Any, wms: Any, key: str) -> Iterator[str]:
    """Return command lines for a shell, those about the cause first.

    A backend or WMS that has commands tells them by `shows(name of the queue, or wmsqueue)`.
    """
    factory = config.factory
    if key == "disk":
        yield shlex.join(["df", "-h", str(factory.state_dir), str(factory.pilot_log_dir)])
    if key in {"pause", "drain"}:
        yield shlex.join(["autopyfactory", "pause", "--conf", str(config.path)])
    if key == "downtime":
        yield shlex.join(["autopyfactory", "downtime", "--conf", str(config.path)])
    if key == "credential":
        names = [*queue.options.proxy, *queue.options.token]
        files = [str(config.credentials[name].file) if name in config.credentials else name for name in names]
        yield shlex.join(["ls", "-l", *files])
        yield from (
            shlex.join(["openssl", "x509", "-noout", "-dates", "-in", file])
            for file in files[: len(queue.options.proxy)]
        )
    of_batch = list(getattr(batch, "shows", lambda _: ())(queue.name))
    asked = [getattr(wms, "shows", lambda _: ())(name) for name in queue.options.wmsqueues]
    of_wms = list(dict.fromkeys(line for lines in asked for line in lines))
    first_wms = key in WMS_FIRST or key.startswith("status")
    yield from [*of_wms, *of_batch] if first_wms else [*of_batch, *of_wms]
