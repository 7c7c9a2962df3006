"""What the interpreter may take from the event loop: turns of its one lock, and its looks for garbage.

Both are felt by whoever waits for an answer. Under a crowd (benchmarks/RESULTS.md) looking through everything alive took the loop
for up to 0.4 s every four seconds, a seventh of the process's time; and after each system call the loop waited up to 5 ms for a
thread of the ledger to pass the lock on.
"""

import gc
import sys

TURN = 0.0005
"""Seconds that a thread keeps the interpreter's lock while another asks for it (5 ms by default)."""

THRESHOLDS = (5_000, 10, 10)
"""For ``gc.set_threshold``: an interaction makes some thousand objects that refer to each other, nearly all gone with its answer."""


def shorten_turns() -> None:
    """Let the event loop have the interpreter's lock back soon."""
    sys.setswitchinterval(TURN)


def set_aside() -> None:
    """Spare whatever lives as long as the process (modules, the guild's members) from every later look for garbage.

    Takes some tenths of a second. Called again it looks at everything anew: a guild that was replaced meanwhile is let go.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
