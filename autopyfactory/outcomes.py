"""How each queue's last pilots ended: what `throttle` and `empty_guard` judge by."""

import logging
import threading
from collections import OrderedDict, deque
from collections.abc import Container, Sequence

from autopyfactory.clock import Clock
from autopyfactory.model import EndedPilot
from autopyfactory.sched.endings import Endings, weigh
from autopyfactory.sched.options import RuleOptions

log = logging.getLogger(__name__)

KEEP = 200
"""Ended pilots kept of each queue."""

GOOD_FOR = 86400.0
"""Seconds for which a node on which a pilot ended well is known to work."""

NODES = 5000
_LONG = 600.0
_NONE: deque[EndedPilot] = deque()


class Outcomes:
    """Keep the last ended pilots of each queue, and the nodes that work. Safe from many threads.

    It remembers nothing over a restart, after which a queue begins without a judgement.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ended: dict[str, deque[EndedPilot]] = {}
        self._good: OrderedDict[tuple[str, str, str], float] = OrderedDict()
        self._said: dict[tuple[str, str], str] = {}

    def add(self, ended: Sequence[EndedPilot]) -> None:
        """Take in pilots that have ended."""
        with self._lock:
            for pilot in ended:
                self._ended.setdefault(pilot.queue, deque(maxlen=KEEP)).append(pilot)
                if pilot.node and (pilot.exit_code == 0 or (pilot.lived or 0.0) >= _LONG):
                    place = (pilot.queue, pilot.endpoint, pilot.node)
                    self._good[place] = max(pilot.at, self._good.pop(place, 0.0))
            while len(self._good) > NODES:
                self._good.popitem(last=False)

    def keep(self, queues: Container[str]) -> None:
        """Forget the queues that are there no more."""
        with self._lock:
            self._ended = {name: pilots for name, pilots in self._ended.items() if name in queues}

    def endings(self, queue: str, endpoint: str, options: RuleOptions) -> Endings:
        """Return what is known of a queue's pilots at an endpoint; one bad node is named in the log."""
        now = self._clock.now()
        with self._lock:
            pilots = [pilot for pilot in self._ended.get(queue, _NONE) if pilot.endpoint == endpoint]
            good = frozenset(
                node
                for (name, place, node), at in self._good.items()
                if name == queue and place == endpoint and now - at <= GOOD_FOR
            )
        endings = weigh(pilots, options, now, good)
        self._name_node(queue, endpoint, endings, options)
        return endings

    def _name_node(self, queue: str, endpoint: str, endings: Endings, options: RuleOptions) -> None:
        limit = options.throttle
        bad = limit is not None and endings.faults.over(float(limit)) and endings.one_node
        node, place = endings.node if bad else "", (queue, endpoint)
        if node and self._said.get(place) != node:
            text = "%s: %d of the last %d short-lived pilots at %s ran on node %s, others work: tell its admin"
            extra = {"queue": queue}
            log.warning(text, queue, endings.node_faults, endings.faults.count, endpoint, node, extra=extra)
        self._said[place] = node
