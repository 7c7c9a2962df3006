"""``darkroom queue``, ``pause``, ``drain``, ``requeue``, ``move``, ``refund`` and their like: what is typed, and what is said of it."""

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from bot.settings import Settings

Add = Callable[[str, Callable[[argparse.Namespace], int], str], argparse.ArgumentParser]

_REST = (
    ("pause", "give a worker nothing new", "Paused: what runs goes on."),
    ("resume", "let a paused or drained worker work again", "It works again."),
    ("drain", "give a worker nothing new, because it will be taken away", "Draining: what runs goes on, nothing new comes."),
)


def add_commands(add: Add, settings: Callable[[], Settings]) -> None:
    """The operator's subcommands; ``settings`` is read when one of them runs."""
    queue = add("queue", partial(_queue, settings), "who waits, who runs, and why")
    queue.add_argument("--fairness", action="store_true", help="the last hour's figures, and where everybody stands")
    queue.add_argument("--json", action="store_true", help="the same as data")
    for verb, description, said in _REST:
        add(verb, partial(_worker, settings, verb, said), description).add_argument("worker", help="its name in `darkroom queue`")
    add("requeue", partial(_requeue, settings), "ask again for a job that has ended").add_argument("job", help="its id")
    move = add("move", partial(_move, settings), "let a waiting job wait in another lane, or for one worker")
    move.add_argument("job", help="its id")
    move.add_argument("--lane", choices=("quick", "normal", "bulk"), help="sooner or later; nobody's turn is taken")
    move.add_argument("--worker", help="the only worker that may take it; * for any")
    add("refund", partial(_refund, settings), "give back what an ended job cost its person").add_argument("job", help="its id")
    purge = add("purge", partial(_purge, settings), "remove everything of a person: jobs, pictures, history, accounts")
    purge.add_argument("user", help="discord:NUMBER or web:NAME")
    purge.add_argument("--yes", action="store_true", help="do not ask")


def _operate(settings: Callable[[], Settings], **told: Any) -> Any:
    """Do it, or say why not and end."""
    from bot.operate import NotPossible, carry_out
    from bot.operator_door import CommandFailed
    from database.errors import DatabaseError
    from jobs.errors import StoreUnavailable

    try:
        return carry_out(settings(), **told)
    except (NotPossible, CommandFailed, DatabaseError) as error:
        sys.exit(f"darkroom: {error}")
    except StoreUnavailable as error:
        sys.exit(f"darkroom: the database cannot be used ({error.details['reason']}); `darkroom doctor` says more.")


def _queue(settings: Callable[[], Settings], options: argparse.Namespace) -> int:
    from bot.board_text import board_text, fairness_text, paint_for

    told = _operate(settings, do="fairness" if options.fairness else "queue")
    if options.json:
        print(json.dumps(told, indent=2))
    else:
        print((fairness_text if options.fairness else board_text)(told, paint_for(sys.stdout)))
    return 0


def _worker(settings: Callable[[], Settings], verb: str, said: str, options: argparse.Namespace) -> int:
    _operate(settings, do="worker", name=options.worker, to=verb)
    print(said)
    return 0


def _requeue(settings: Callable[[], Settings], options: argparse.Namespace) -> int:
    told = _operate(settings, do="requeue", job=options.job)
    print(f"It waits again, as its generation {told['generation']}.")
    return 0


def _move(settings: Callable[[], Settings], options: argparse.Namespace) -> int:
    if options.lane is None and options.worker is None:
        sys.exit("darkroom: say --lane, --worker or both.")
    _operate(settings, do="move", job=options.job, lane=options.lane, worker="" if options.worker == "*" else options.worker)
    print("Moved.")
    return 0


def _refund(settings: Callable[[], Settings], options: argparse.Namespace) -> int:
    told = _operate(settings, do="refund", job=options.job)
    print(f"{told['person']} has {told['gpu_seconds']:.1f} s of GPU time back, and {told['service']:.1f} s of their account.")
    return 0


def _purge(settings: Callable[[], Settings], options: argparse.Namespace) -> int:
    if not options.yes and input(f"Everything of {options.user} goes for good. Type the name again: ").strip() != options.user:
        print("Nothing was removed.")
        return 1
    told = _operate(settings, do="purge", user=options.user)
    later = f" {told['later']} more pictures go within the day." if told["later"] else ""
    print(f"Removed {told['jobs']} jobs and {told['pictures']} pictures.{later}")
    return 0
