"""``python -m tests.simulation --seeds 10000``: play seeds, print each that fails with a command that plays it again."""

import argparse
import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tests.simulation.play import Draw, Verdict, make_template, play, play_many
from tests.simulation.world import TROUBLES, draw_trouble


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--seed", type=int, help="only this one, with its history")
    parser.add_argument("--only", type=int, nargs="+", help="these and no others")
    parser.add_argument("--trouble", choices=sorted(TROUBLES), help="only this trouble, eight times a seed")
    parser.add_argument("--digests", action="store_true", help="tell a hash of each story")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1)), help="processes")
    parser.add_argument("--verbose", action="store_true", help="the code's own log, too")
    options = parser.parse_args()
    logging.basicConfig(level=logging.DEBUG if options.verbose else logging.CRITICAL, format="%(name)s: %(message)s")
    for handler in logging.getLogger().handlers:  # the judge of logs hears everything, by a handler of its own
        handler.setLevel(logging.DEBUG if options.verbose else logging.CRITICAL)
    for noisy in ("aiosqlite", "asyncio", "discord"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL if not options.verbose else logging.WARNING)
    with tempfile.TemporaryDirectory() as folder:
        template = make_template(Path(folder))
        if options.seed is not None:
            return _one(options.seed, template)
        seeds = options.only or range(options.first, options.first + options.seeds)
        draw = partial(draw_trouble, name=options.trouble) if options.trouble else None
        return _many(seeds, template, options.jobs, digests=options.digests, draw=draw)


def _one(seed: int, template: Path) -> int:
    verdict = play(seed, template)
    print("\n".join(verdict.story))
    _tell(verdict)
    sys.stdout.flush()
    os._exit(bool(verdict.broken))  # killed hosts' coroutines must not be collected: their finally blocks would run


def _many(seeds: Sequence[int], template: Path, jobs: int, *, digests: bool, draw: Draw | None) -> int:
    started, failed, hours, count = time.monotonic(), [], 0.0, 0
    stories: dict[int, str] = {}
    for verdict in play_many(seeds, template, jobs, draw=draw):
        count += 1
        stories[verdict.seed] = verdict.digest
        hours += verdict.virtual_seconds / 3600
        if count % 250 == 0:
            print(f"{count} seeds, {len(failed)} failed, {hours:.1f} virtual hours", file=sys.stderr, flush=True)
        if verdict.broken:
            failed.append(verdict.seed)
            _tell(verdict)
    print(json.dumps({
        "seeds": count, "failed": len(failed), "failing_seeds": failed[:50], "virtual_hours": round(hours, 1),
        "seconds": round(time.monotonic() - started, 1), **({"digests": stories} if digests else {}),
    }, sort_keys=True))  # fmt: skip
    return bool(failed) or count != len(seeds)


def _tell(verdict: Verdict) -> None:
    if not verdict.broken:
        return
    print(
        f"seed {verdict.seed} breaks {len(verdict.broken)} promises; again: PYTHONHASHSEED=0 python -m tests.simulation --seed {verdict.seed}"
    )
    for line in verdict.broken[:6]:
        print(f"    {line}")
    print("    --- " + " · ".join(verdict.story[-12:]))


if __name__ == "__main__":
    sys.exit(main())
