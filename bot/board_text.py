"""The board in a terminal: columns that line up, colour only on a terminal, nothing that is not so."""

import os
import unicodedata
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from bot.board import Board

_DIM, _BOLD, _GREEN, _YELLOW, _RED, _END = "\x1b[2m", "\x1b[1m", "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


class Paint:
    """Colours, or none."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, text: str, colour: str) -> str:
        """The text in that colour."""
        return f"{colour}{text}{_END}" if self._on and text else text


def paint_for(stream: Any) -> Paint:
    """Colours on a terminal, unless NO_COLOR asks for none."""
    return Paint(on=stream.isatty() and "NO_COLOR" not in os.environ)  # noqa: TID251  a terminal's own word, no setting of ours


def board_text(board: Board, paint: Paint, *, now: datetime | None = None) -> str:
    """Hosts, workers, who runs, who waits and why."""
    at = now or datetime.now(UTC)
    parts = [_heading(board, paint), _workers(board, paint), _active(board, paint, at), _waiting(board, paint, at)]
    return "\n\n".join(part for part in parts if part)


def _heading(board: Board, paint: Paint) -> str:
    active, waiting = len(board["active"]), board["waiting_count"]
    people = len({one["person"] for one in (*board["active"], *board["waiting"])})
    line = paint(f"{active} in the making, {waiting} waiting, {people} {'person' if people == 1 else 'people'}", _BOLD)
    hosts = [lease for lease in board["hosts"] if lease["name"].startswith("host:")]
    alive = [lease["owner"] for lease in hosts if lease["lives"]]
    gateway = next((lease["owner"] for lease in board["hosts"] if lease["name"] == "discord" and lease["lives"]), None)
    told = f"hosts: {', '.join(alive) or 'none'}" + (f"; Discord by {gateway}" if gateway else "")
    if not board["live"]:
        told += ". No host runs in this folder: causes, times and what workers say are not known here."
    return f"{line}\n{paint(told, _DIM)}"


def _workers(board: Board, paint: Paint) -> str:
    rows = []
    for one in board["workers"]:
        on_it = [job for job in board["active"] if job["worker"] == one["name"]]
        runs = f"{len(on_it)}/{one['places'] or '?'}"
        rows.append([one["name"], _state(one, board, paint), runs, one["device"], ", ".join(one["loaded"]), one["trouble"][:60]])
    return _table(["WORKER", "STATE", "RUNS", "DEVICE", "LOADED", ""], rows, paint)


def _state(one: Board, board: Board, paint: Paint) -> str:
    if one["state"] != "active":
        return paint(one["state"], _YELLOW)
    if one["online"]:
        return paint("held off" if one["circuit"] == "open" else "online", _YELLOW if one["circuit"] == "open" else _GREEN)
    if not one["here"]:
        return paint("not this host's" if board["live"] else "not known", _DIM)
    return paint("away", _RED)


def _active(board: Board, paint: Paint, at: datetime) -> str:
    rows = []
    for one in board["active"]:
        step = "" if one["step"] is None else f"{one['step']}/{one['steps']}"
        left = "" if one["eta"] is None else _seconds(one["eta"])
        marks = ", ".join(mark for mark, on in (("stopping", one["cancel"]), ("alone", one["alone"])) if on)
        where = [one["worker"], step or one["state"], left, _age(one, at)]
        rows.append([one["id"], one["person"], one["what"], *where, paint(marks, _YELLOW)])
    return _table(["IN THE MAKING", "PERSON", "WHAT", "WORKER", "STEP", "LEFT", "AGE", ""], rows, paint)


def _waiting(board: Board, paint: Paint, at: datetime) -> str:
    rows = []
    for one in board["waiting"]:
        place = "" if one["position"] is None else str(one["position"])
        eta = "" if one["eta"] is None else "–".join(map(_seconds, one["eta"]))
        tries = "" if not one["attempt"] + one["lost"] else f"try {one['attempt'] + one['lost'] + 1}"
        rows.append([place, one["id"], one["person"], one["what"], eta, _age(one, at), paint(tries, _YELLOW), one["why"]])
    text = _table(["#", "WAITING", "PERSON", "WHAT", "READY IN", "AGE", "", "WHY"], rows, paint)
    more = board["waiting_count"] - len(board["waiting"])
    return text + (f"\n{paint(f'and {more} more', _DIM)}" if more > 0 else "")


def fairness_text(told: Board, paint: Paint) -> str:
    """The last hour in figures; then everybody who waits, on the band."""
    rows = [
        ["people served", str(told["people"])],
        ["Jain index", _figure(told["jain"], "{:.3f}") + "  (1: equal service by weight; less also where somebody asked for less)"],
        ["least / most", _figure(told["least_over_most"], "{:.2f}")],
        ["wait p50 / p95", f"{_seconds(told['wait_p50'])} / {_seconds(told['wait_p95'])}"],
        ["slowdown p50 / p95", f"{_figure(told['slowdown_p50'], '{:.1f}')} / {_figure(told['slowdown_p95'], '{:.1f}')}"],
        ["swaps an hour", _figure(told["swaps_per_hour"], "{:.1f}")],
        ["jobs a pass", _figure(told["mean_batch"], "{:.2f}")],
        ["done", str(told["done"])],
        ["chosen because", ", ".join(f"{reason} {count}" for reason, count in sorted(told["reasons"].items())) or "–"],
    ]
    head = paint(f"The last {round(told['seconds'] / 60)} minutes", _BOLD)
    figures = "\n".join(f"  {name:20} {value}" for name, value in rows)
    band = [
        [one["person"], one["pool"], f"{one['above']:+.1f} s", _bar(one["position"]), paint("OUTSIDE" if one["alert"] else "", _RED)]
        for one in told["band"]
    ]
    return f"{head}\n{figures}" + (f"\n\n{_table(['WAITING', 'POOL', 'ABOVE', 'BAND', ''], band, paint)}" if band else "")


def _bar(position: float) -> str:
    cells = 20
    at = min(max(round(position * cells), 0), cells)
    return "▕" + "·" * at + "●" + "·" * (cells - at) + "▏"


def _figure(value: float | None, form: str) -> str:
    return "–" if value is None else form.format(value)


def _seconds(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f} s" if value < 90 else f"{value / 60:.0f} min" if value < 5400 else f"{value / 3600:.1f} h"


def _age(one: Board, at: datetime) -> str:
    return _seconds(max(0.0, (at - datetime.fromisoformat(one["since"])).total_seconds()))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], paint: Paint) -> str:
    if not rows:
        return ""
    clean = [[_plain(cell) for cell in row] for row in rows]
    widths = [max(_width(row[column]) for row in [list(heads), *clean]) for column in range(len(heads))]
    lines = [paint("  ".join(_pad(head, width) for head, width in zip(heads, widths, strict=True)).rstrip(), _DIM)]
    lines += ["  ".join(_pad(cell, width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in clean]
    return "\n".join(lines)


def _plain(cell: str) -> str:
    """Names come from outside: a terminal must not obey them. Our own colours stay."""
    if cell.startswith("\x1b["):
        return cell
    return "".join(c if c.isprintable() else "�" for c in cell)[:120]


def _width(cell: str) -> int:
    bare = cell
    if bare.startswith("\x1b["):
        bare = bare.split("m", 1)[1].removesuffix(_END)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in bare)


def _pad(cell: str, width: int) -> str:
    return cell + " " * (width - _width(cell))
