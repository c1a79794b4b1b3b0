"""From a decision to an order: shape, folder, URL and wrapper of one submission."""

import shlex

from autopyfactory.batch import Order
from autopyfactory.batch.pilot_options import pilot_options
from autopyfactory.batch.wrapper import wrapper_path
from autopyfactory.clock import utc
from autopyfactory.config.models import Config, QueueConfig
from autopyfactory.errors import Refused
from autopyfactory.model import Shape

_MB = 1_000_000


def shape_of(queue: QueueConfig) -> Shape:
    """Return what one pilot of a queue asks for. One resource type or label alone becomes part of the shape."""
    options = queue.options
    return Shape(
        options.cores,
        None if options.whole_memory is None else options.whole_memory // _MB,
        None if options.walltime is None else int(options.walltime),
        options.resource_types[0] if len(options.resource_types) == 1 else "",
        options.labels[0] if len(options.labels) == 1 else "",
    )


def folder_name(queue: str) -> str:
    """Return a queue's name as a folder: the monitor's links replace the same characters."""
    return queue.replace("/", "_").replace(":", "_")


def endpoints_of(queue: QueueConfig, source: str) -> tuple[str, ...]:
    """Return where a queue's pilots go: the endpoints it names, else one of its own where it passes through the source.

    Behind a schedd a batch system of this host is not the schedd: trouble there is none of its other queues.
    """
    options = queue.options
    return options.endpoints or ((f"{options.subtype}@{source}",) if options.subtype else ())


def make_order(
    config: Config, queue: QueueConfig, name: str, count: int, at: float, *, endpoint: str, monitor_url: str = ""
) -> Order:
    """Return the order for `count` pilots of a queue; the log folder is dated by the UTC day of `at`.

    Its credentials are chosen just before it is submitted.
    """
    options, factory = queue.options, config.factory
    shape = shape_of(queue)
    place = f"{utc(at):%Y-%m-%d}/{folder_name(queue.name)}"
    return Order(
        id=name,
        queue=queue,
        endpoint=endpoint,
        shape=shape,
        count=count,
        executable=options.executable or wrapper_path(),
        arguments=(*shlex.split(options.arguments), *pilot_options(options, queue.resource_type)),
        log_dir=factory.pilot_log_dir / place,
        log_url=f"{factory.pilot_log_url.rstrip('/')}/{place}" if factory.pilot_log_url else "",
        monitor_url=monitor_url,
    )


def make_log_folder(order: Order, *, shared: bool = False) -> None:
    """Make the folder of the pilots' output; a `shared` one is for other accounts too, as /tmp is. Raises Refused."""
    try:
        order.log_dir.mkdir(parents=True, exist_ok=True)
        if shared:
            order.log_dir.chmod(0o1777)
    except OSError as error:
        raise Refused(f"cannot make the log folder {order.log_dir}: {error.strerror}") from None
