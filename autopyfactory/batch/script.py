"""One self-contained sh script per pilot: environment, arguments and the wrapper's whole text.

It is all that travels to the node where a backend carries a single file. The wrapper keeps its own
interpreter, its exit code and its signals, and its file is gone before it runs.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from autopyfactory.batch import Context, Order, pilot_environment, pilot_tags
from autopyfactory.errors import Refused

LIMIT = 2_000_000
"""Bytes of a wrapper that are carried; Slurm takes scripts of up to 4 MB."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

_HEAD = """\
#!/bin/sh
# A pilot of AutoPyFactory: its environment, then the wrapper, which takes the place of this shell.
"""

# The wrapper's file is opened and removed before it runs: nothing is left over however the pilot ends.
_UNPACK = """\
cd "${{TMPDIR:-/tmp}}" || cd /tmp || exit 1
wrapper=$(mktemp "${{TMPDIR:-/tmp}}/apf.XXXXXXXXXX") || exit 1
cat >"$wrapper" <<'{mark}' || exit 1
{text}{mark}
exec 3<"$wrapper" || exit 1
rm -f -- "$wrapper"
unset wrapper
exec {command} </dev/null
"""


def pilot_script(context: Context, order: Order, cid: str, wrapper: str) -> str:
    """Return the script of one pilot, `wrapper` being the text of the order's executable. Raises Refused."""
    environment = pilot_environment(context, order, cid) | pilot_tags(context, order)
    if order.proxy is not None:
        environment["X509_USER_PROXY"] = str(order.proxy)
    return render(environment, order.arguments, wrapper)


def read_wrapper(path: Path) -> str:
    """Return the text of a wrapper. Raises Refused for what a script cannot carry."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Refused(f"cannot read the executable {path}: {error.strerror}") from None
    if len(data) > LIMIT:
        raise Refused(f"the executable {path} has {len(data)} bytes, at most {LIMIT} travel with a pilot")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Refused(f"the executable {path} is no script, name one that fetches the program")
    return text


def render(environment: Mapping[str, str], arguments: Sequence[str], wrapper: str) -> str:
    """Return a script that sets the environment and runs the wrapper's text with the arguments. Raises Refused."""
    exports = "".join(f"export {_named(name)}={_quoted(value)}\n" for name, value in environment.items())
    command = " ".join([*_interpreter(wrapper), "/dev/fd/3", *map(_quoted, arguments)])
    text = wrapper if wrapper.endswith("\n") else f"{wrapper}\n"
    return _HEAD + exports + _UNPACK.format(mark=_mark(text), text=text, command=command)


def _interpreter(wrapper: str) -> list[str]:
    """Return the words of the wrapper's first line as the kernel reads it: a path and at most one argument."""
    first = wrapper.partition("\n")[0]
    words = first.removeprefix("#!").strip().split(None, 1) if first.startswith("#!") else []
    return [_quoted(word) for word in words] or ["/bin/sh"]


def _mark(text: str) -> str:
    lines, mark = set(text.splitlines()), "END_OF_WRAPPER"
    while mark in lines:
        mark += "_"
    return mark


def _named(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise Refused(f"'{name}' is no name of an environment variable, use letters, digits and _")
    return name


def _quoted(value: str) -> str:
    if "\0" in value:
        raise Refused(f"{value!r} has a NUL, which no environment and no argument can carry")
    return shlex.quote(value)
