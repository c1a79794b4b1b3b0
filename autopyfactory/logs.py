"""The log: UTC, level, queue, message, one line each; reopened when logrotate moved it; secrets masked."""

import logging
import re
import sys
import threading
import time
from logging.handlers import WatchedFileHandler
from pathlib import Path

_MASK = "***"
_NAME = r"[\w.-]*(?:password|passwd|passphrase|token|secret|private_?key)(?![\w.-]*(?:file|path|dir)\b)[\w.-]*"
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S), _MASK),
    (re.compile(r"(://)[^/\s]*@"), rf"\1{_MASK}@"),
    (re.compile(r"\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}", re.I), rf"\1{_MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), _MASK),
    (re.compile(rf"\b({_NAME}=)(?:\"[^\"]*\"|'[^']*'|[^\s&;,]+)", re.I), rf"\1{_MASK}"),
    (re.compile(rf"(?<!\S)(--?{_NAME}\s+)(?:\"[^\"]*\"|'[^']*'|[^\s-]\S*)", re.I), rf"\1{_MASK}"),
    (re.compile(rf"((?P<q>[\"']){_NAME}(?P=q)\s*:\s*)(?:\"[^\"]*\"|'[^']*'|[^\s,}}]+)", re.I), rf"\1{_MASK}"),
)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127) if chr(code) != "\t"} | {10: "\\n", 13: "\\r"}
_CHATTY = ("urllib3", "werkzeug", "pebble")


def mask(text: str) -> str:
    """Replace what looks like a secret: who asks in URLs, bearer tokens, private keys, values of telling names."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def clean(text: str, limit: int) -> str:
    """Return a stranger's text fit for one line of a log: no line ends, no escape sequences, not long."""
    line = " ".join(text[: 4 * limit].split())[:limit]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


class Formatter(logging.Formatter):
    """Write `2026-11-22 18:00:00,123 INFO  QUEUE message`, and a traceback whole below it.

    QUEUE is the record's `queue` (given by `extra` or a LoggerAdapter), else the last word of the logger's
    name. Control characters of the message are escaped: what a server sent cannot forge a line.
    """

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-5s %(queue)s %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Fill in the queue and keep the message on one line."""
        record.queue = getattr(record, "queue", "") or record.name.rpartition(".")[2]
        record.message = record.message.translate(_CONTROL)
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """Mask secrets in message and traceback alike."""
        return mask(super().format(record))


class LogFile(WatchedFileHandler):
    """A file that is opened again when it was moved or removed.

    A log that cannot be opened again must not become an exception in a queue thread: the record goes to
    stderr, and the next one tries anew.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, to stderr if the file is gone for good."""
        try:
            super().emit(record)
        except OSError as error:
            if sys.stderr is not None:
                sys.stderr.write(f"{self.format(record)}\n(cannot write {self.baseFilename}: {error.strerror})\n")


def setup(log_file: Path | None, debug: bool) -> None:
    """Send every log record to `log_file`, or to stderr; raises OSError when the file cannot be written."""
    handler: logging.Handler = logging.StreamHandler() if log_file is None else LogFile(log_file, encoding="utf-8")
    handler.setFormatter(Formatter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.INFO if debug else logging.WARNING)
    logging.captureWarnings(True)
    threading.excepthook = _thread_died


def reopen() -> None:
    """Open the log file again if it was moved; needed only by a log that is silent for long."""
    for handler in _files():
        handler.acquire()
        try:
            handler.reopenIfNeeded()
        except OSError as error:
            logging.getLogger(__name__).error("cannot open the log again: %s", error)
        finally:
            handler.release()


def descriptors() -> list[int]:
    """Return the file descriptors the log writes to, for whoever closes all others."""
    return [handler.stream.fileno() for handler in _files() if handler.stream is not None]


def _files() -> list[LogFile]:
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, LogFile)]


def _thread_died(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is SystemExit or args.exc_value is None:
        return
    name = args.thread.name if args.thread else "a thread"
    logging.getLogger(__name__).critical("%s ended by a bug", name, exc_info=args.exc_value)
