"""``python -m tests.mutants``: apply each defect, play seeds until its promise is found broken, print the table.

The last line is JSON: how many mutants, how many killed.
"""

import argparse
import contextlib
import itertools
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant
from tests.simulation.play import make_template, play_many

QUICK, LONG = 24, 200
"""Seeds at most for one mutant. It ends with the first that finds it."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help=f"up to {LONG} seeds each instead of {QUICK}")
    parser.add_argument("--only", nargs="+", help="these mutants")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # the judge of logs hears by a handler of its own; nobody else does
    chosen = [mutant for mutant in MUTANTS if not options.only or mutant.name in options.only]
    most = LONG if options.long else QUICK
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder))
        fates = [_start(chosen[start :: options.jobs], template, most) for start in range(options.jobs)]
        killed = sum(_wait(*fate) for fate in fates)
    print(json.dumps({"mutants": len(chosen), "killed": killed}))
    return killed != len(chosen)


def _start(mutants: Sequence[Mutant], template: Path, most: int) -> tuple[int, int]:
    """A process of its own for these mutants, one after the other: (its id, a pipe that tells how many died)."""
    reading, writing = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        os.close(writing)
        return pid, reading
    try:
        killed = sum(_hunt(mutant, template, most) for mutant in mutants)
        os.write(writing, str(killed).encode())
    finally:
        os._exit(0)


def _wait(pid: int, pipe: int) -> int:
    with os.fdopen(pipe, "rb") as told:
        killed = told.read()
    os.waitpid(pid, 0)
    return int(killed or 0)


def _hunt(mutant: Mutant, template: Path, most: int) -> bool:
    """Whether a seed breaks one of the promises that this defect endangers, found by the judge and not by a crash."""
    started, others, count = time.monotonic(), set(), 0
    verdicts = play_many(range(1, most + 1), template, 1, chunk=most, draw=mutant.draw, prepare=mutant.defect)
    with contextlib.closing(verdicts):
        for verdict in verdicts:
            count += 1
            checks = {line.partition(":")[0] for line in verdict.broken}
            found = checks & set(mutant.found_by)
            if found:
                line = next(line for line in verdict.broken if line.partition(":")[0] in found)
                _tell(mutant, "killed", f"seed {verdict.seed}, {time.monotonic() - started:.1f} s: {line}")
                return True
            others |= set(itertools.islice(verdict.broken, 2))
    _tell(mutant, "SURVIVED", f"{count} seeds; else seen: {sorted(others)[:3]}")
    return False


def _tell(mutant: Mutant, fate: str, how: str) -> None:
    sys.stdout.write(f"{fate:9s} {mutant.name:36s} {how[:200]}\n")  # one write: two processes share the terminal
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
