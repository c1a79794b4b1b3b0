"""What can stand in the files: the plug-ins there are, and the options each part of the factory declares."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from autopyfactory import plugins
from autopyfactory.batch.rows import plugin
from autopyfactory.config.fields import Options
from autopyfactory.config.models import QueueOptions
from autopyfactory.config.sentences import declared
from autopyfactory.sched.options import RuleOptions

BATCH, WMS, MONITOR = "autopyfactory.batch", "autopyfactory.wms", "autopyfactory.monitor"

_PARTS = {BATCH: ("source_kind", "SourceOptions", "QueueOptions"), WMS: ("Options",), MONITOR: ("Options",)}

CLASSIC = {
    "apfqueue.sleep": "interval",
    "batchsubmitplugin": "backend",
    "executable.arguments": "arguments",
    "factoryAdminEmail": "admin_email",
    "factoryId": "id",
    "factoryUser": "user",
    "baseLogDir": "pilot_log_dir",
    "baseLogDirUrl": "pilot_log_url",
    "monitorsection": "monitor",
    "queueConf": "queues",
    "sched.fixed.pilotspercycle": "fixed",
    "sched.keepnrunning.keep_running": "keep_running",
    "sched.maxpending.maximum": "max_pending",
    "sched.maxpercycle.maximum": "max_per_cycle",
    "sched.maxtorun.maximum": "max_pilots",
    "sched.minpending.minimum": "min_pending",
    "sched.minpercycle.minimum": "min_per_cycle",
    "sched.ready.offset": "ready.offset",
    "sched.scale.factor": "scale",
    "sched.statusoffline.pilots": "status_offline",
    "sched.statustest.pilots": "status_test",
    "sched.throttle.interval": "throttle.window",
    "sched.throttle.maxtime": "throttle.shorter_than",
    "sched.throttle.ratio": "throttle",
    "sched.weightedactivated.activated": "weighted.activated",
    "sched.weightedactivated.pending": "weighted.pending",
    "schedplugin": "rules",
    "wmsstatusplugin": "wms",
}
"""Options of AutoPyFactory 2 and what they are called now."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A plug-in that is known and cannot be used."""

    reason: str


class Catalogue:
    """The plug-ins as the configuration sees them; each is imported at most once."""

    def __init__(
        self, names: Callable[[str], list[str]] = plugins.names, load: Callable[[str, str], Any] = plugins.load
    ) -> None:
        self.names = names
        self._load = load
        self._found: dict[tuple[str, str], Any] = {}

    def find(self, group: str, name: str) -> Any:
        """Return the plug-in class of a known name, or Broken where it cannot be had."""
        key = (group, name)
        if key not in self._found:
            try:
                self._found[key] = self._load(*key)
                for attribute in _PARTS[group]:
                    getattr(self._found[key], attribute)
            except Exception as error:
                # Whatever somebody else's module does when it is imported, it must not stop other queues.
                self._found[key] = Broken(f"{type(error).__name__}: {error}")
        return self._found[key]

    @cached_property
    def backends(self) -> dict[str, Any]:
        """Return the plug-ins of all backends by name, Broken ones included."""
        return {name: self.find(BATCH, name) for name in self.names(BATCH)}

    @cached_property
    def usable(self) -> dict[str, Any]:
        """Return those that can be used."""
        return {name: kind for name, kind in self.backends.items() if not isinstance(kind, Broken)}

    def kind_of(self, options: QueueOptions) -> Any:
        """Return the plug-in class that a queue submits through, None where there is none that can be used."""
        return self.usable.get(plugin(options.backend, options.type))

    @cached_property
    def source_kinds(self) -> dict[str, str]:
        """Return the plug-in of each kind of source section."""
        return {kind.source_kind: name for name, kind in self.usable.items()}

    @cached_property
    def owners(self) -> dict[str, str]:
        """Return the backend that declares an option, for every option of a backend."""
        return {option: name for name, kind in self.usable.items() for option in declared(kind.QueueOptions)}

    @cached_property
    def queue_names(self) -> frozenset[str]:
        """Return the names of all options that can stand in a queue's section."""
        return frozenset(declared(QueueOptions)) | frozenset(declared(RuleOptions)) | frozenset(self.owners)

    @property
    def all_usable(self) -> bool:
        """Tell whether no backend is broken, so that an unknown option is surely nobody's."""
        return len(self.usable) == len(self.backends)


def rule_of(option: str) -> str:
    """Return the rule that a field of RuleOptions belongs to."""
    extra = declared(RuleOptions)[option].json_schema_extra
    return str(extra.get("rule", "")) if isinstance(extra, dict) else ""


def source_options(backend: Any) -> type[Options]:
    """Return the model of a backend's source section."""
    model: type[Options] = backend.SourceOptions
    return model
