"""Whoever writes a message or an error's text writes no line of the log."""

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import bot.cli
import workers.server.cli
from jobs.log_lines import MESSAGE_MAX, TRACE_MAX, log_to


@contextmanager
def log_not_set_up() -> Iterator[None]:
    """A process that has not set up its log yet; what there was comes back afterwards. Not a fixture: pytest adds its handlers last."""
    loggers = [logging.getLogger(name) for name in (None, "discord.client", "discord.gateway", "alembic", "uvicorn")]
    before, levels = loggers[0].handlers[:], [logger.level for logger in loggers]
    loggers[0].handlers[:] = []
    try:
        yield
    finally:
        loggers[0].handlers[:] = before
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def logged(tell: Callable[[logging.Logger], None]) -> str:
    stream = io.StringIO()
    with log_not_set_up():
        log_to(stream, level="INFO", layout="%(levelname)s %(name)s: %(message)s")
        tell(logging.getLogger("a"))
    return stream.getvalue()


def failing_with(text: str, *, stack_info: bool = False) -> Callable[[logging.Logger], None]:
    def tell(log: logging.Logger) -> None:
        try:
            raise ValueError(text)
        except ValueError:
            log.exception("it failed", stack_info=stack_info)

    return tell


def _host() -> int:
    return bot.cli.main(["flows", "check"])


def _worker() -> int:
    return workers.server.cli.main(["--supervise", "--host", "0.0.0.0"])


@pytest.mark.parametrize("start", [_host, _worker])
def test_host_and_worker_log_so(start: Callable[[], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.chdir(tmp_path)
    with log_not_set_up():
        assert start() == 2  # there is nothing to do, and by then the log is set up
        logging.getLogger("a").warning("one\nINFO two")
    assert capsys.readouterr().err.splitlines()[-1].endswith("WARNING a: one\\nINFO two")


def test_a_strangers_line_breaks_are_shown_not_obeyed():
    line = logged(lambda log: log.warning("the worker said %s", "hm\nINFO b: all is well\r\x1b[2K\u2028\x85\u202e\udc80 niño 📷"))
    assert line == "WARNING a: the worker said hm\\nINFO b: all is well\\r\\x1b[2K\\u2028\\x85\\u202e\\udc80 niño 📷\n"


def test_a_long_message_is_cut_and_says_so():
    line = logged(lambda log: log.warning("x" * (MESSAGE_MAX + 70_000)))
    assert line == f"WARNING a: {'x' * MESSAGE_MAX} … (70000 characters more)\n"


def test_a_traceback_is_still_read_line_by_line():
    lines = logged(failing_with("bad\nINFO b: all is well\x1b[2K")).splitlines()
    assert lines[:2] == ["ERROR a: it failed", "  | Traceback (most recent call last):"]
    assert lines[-2:] == ["  | ValueError: bad", "  | INFO b: all is well\\x1b[2K"]


def test_no_line_of_a_long_traceback_passes_for_a_record():
    text = logged(failing_with("bad" + "\ny" * TRACE_MAX, stack_info=True))
    first, *rest = text.splitlines()
    assert first == "ERROR a: it failed"
    assert all(line.startswith("  | ") for line in rest)
    assert 2 * TRACE_MAX < len(text) < 6 * TRACE_MAX
