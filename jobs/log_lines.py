"""Log lines that nobody outside can forge: what a worker or a stranger wrote stays within the line that tells of it."""

import logging
from types import TracebackType
from typing import TextIO

MESSAGE_MAX = 2_000
"""Characters of a message; what is longer is cut, and the line says by how much."""

TRACE_MAX = 16_000
"""Characters of a traceback: its end is kept, which says what was raised."""

_MARGIN = "  | "


def log_to(stream: TextIO | None = None, *, level: int | str, layout: str) -> None:
    """Set up the process's log. ``layout`` is a %-format; ``stream`` is stderr unless told. Nothing where it is set up already."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter(layout))
    logging.basicConfig(level=level, handlers=[handler])


class LineFormatter(logging.Formatter):
    """A record is one line; its traceback follows with a margin, so that no line of it looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the name is logging's)
        """The line itself."""
        record.message = one_line(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802  (the name is logging's)
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """The traceback, whose last lines hold the error's own text: a stranger's words as often as not."""
        return _with_margin(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  (the name is logging's)
        """As a traceback."""
        return _with_margin(super().formatStack(stack_info))


def one_line(text: str, *, limit: int = MESSAGE_MAX) -> str:
    """``text`` without anything that moves a cursor or ends a line: such characters are shown as Python escapes."""
    cut = f" … ({len(text) - limit} characters more)" if len(text) > limit else ""
    return "".join(char if char.isprintable() else _escaped(char) for char in text[:limit]) + cut


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "backslashreplace").decode("ascii")


def _with_margin(text: str) -> str:
    kept = text if len(text) <= TRACE_MAX else "… " + text[-TRACE_MAX:]
    return "\n".join(_MARGIN + one_line(line) for line in kept.split("\n"))
