"""Fairness and work of the real planner beside other rules, and the worst it ever did beside its bound.

    python -m benchmarks.fairness                  four loads, seven rules, then 300 random and adversarial worlds
    python -m benchmarks.fairness --quick          two loads, shorter, 20 worlds
    python -m benchmarks.fairness --worlds 10000   the worlds alone; exits with 1 when one promise breaks in one of them
    python -m benchmarks.fairness --plot FILE      also draw the table as a picture

The planner is the one that serves people; time, people and GPUs are simulated (tests/fairness/world.py), so the figures are the same on
every machine.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from math import inf
from multiprocessing import Pool
from pathlib import Path
from statistics import fmean

from benchmarks.fairness_plot import draw
from tests.fairness.bounds import Verdict
from tests.fairness.loads import LOADS, Load, Score, run
from tests.fairness.rivals import RIVALS
from tests.fairness.worlds import judged

UNWINDOWED = ("FIFO", "round robin", "affinity only")

Table = dict[str, dict[str, Score]]


def mean(scores: list[Score]) -> Score:
    """Of each figure; the worst of the drifts."""
    names = ("work", "swaps_per_hour", "jain", "min_over_max", "slow_p50", "slow_p95")
    figures = {name: fmean(getattr(score, name) for score in scores) for name in names}
    return Score(**figures, never=max(score.never for score in scores), drift=max(score.drift for score in scores))


def compare(load: Load, *, seeds: Iterable[int], seconds: float, whole: bool) -> dict[str, Score]:
    """Scores by rule."""

    def rule(**given: object) -> Score:
        return mean([run(load, seed=seed, seconds=seconds, **given) for seed in seeds])  # type: ignore[arg-type]  # keywords of run()

    ours = {"darkroom": rule()}
    if whole:
        ours |= {"darkroom, D = S": rule(times=1.0), "darkroom, D = 10 S": rule(times=10.0)}
        ours["darkroom, riders without window"] = rule(riders=inf)
    return ours | {name: rule(planner=rival) for name, rival in RIVALS.items()}


def show(load: Load, scores: dict[str, Score]) -> None:
    print(f"\n{load.title}\n  {'rule':32} {'work':>5} {'swaps/h':>7} {'Jain':>6} {'min/max':>7} {'slow p50/p95':>12} {'none':>4}")
    for name, score in scores.items():
        figures = f"{score.work:5.2f} {score.swaps_per_hour:7.0f} {score.jain:6.3f} {score.min_over_max:7.2f}"
        print(f"  {name:32} {figures} {f'{score.slow_p50:.0f}/{score.slow_p95:.0f}':>12} {score.never:4d}")


def worlds(count: int, *, first: int = 0, processes: int = 2, tell: Callable[[str], None] = print) -> tuple[Verdict, list[int]]:
    """The worst of each ratio over ``count`` worlds, and the seeds in which a promise was broken."""
    worst, broken = Verdict(), []
    with Pool(processes) as pool:
        for seed, found in enumerate(pool.imap(judged, range(first, first + count), chunksize=4), start=first):
            for name in ("drift", "comings", "starving", "hook", "band"):
                setattr(worst, name, max(getattr(worst, name), getattr(found, name)))
            worst.jobs += found.jobs
            if not found.kept:
                broken.append(seed)
                tell(f"broken in world {seed}: {found}")
            if (seed + 1) % 250 == 0:
                tell(f"  {seed + 1} worlds, worst drift {worst.drift:.3f} of its bound")
    return worst, broken


def show_worlds(count: int, worst: Verdict, broken: list[int]) -> None:
    print(f"\n{count} worlds, {worst.jobs:,} finished jobs; the worst seen, where 1 is the bound")
    for title, figure in (
        ("drift of two who always wait (theorem 1)", worst.drift),
        ("gain by coming and going (theorem 1')", worst.comings),
        ("service to others while somebody waits (theorem 2)", worst.starving),
        ("distance of a lease from the least account (hook)", worst.hook),
        ("distance of an account from its clock (band lemma)", worst.band),
    ):
        print(f"  {title:54} {figure:6.3f}")
    print(f"  worlds with a broken promise: {len(broken)} {broken[:10]}")


def summary(table: Table, worst: Verdict, broken: list[int]) -> dict[str, float]:
    one, four = table["1gpu"], table["4gpu"]
    rivals = [four[name] for name in UNWINDOWED]
    ours = [scores["darkroom"].drift for scores in table.values()]
    return {
        "jain_1gpu": round(one["darkroom"].jain, 4),
        "work_vs_round_robin_1gpu": round(one["darkroom"].work / one["round robin"].work, 2),
        "jain_4gpu": round(four["darkroom"].jain, 4),
        "work_vs_unwindowed_4gpu": round(four["darkroom"].work / max(rival.work for rival in rivals), 3),
        "min_max_vs_unwindowed_4gpu": round(four["darkroom"].min_over_max / max(max(rival.min_over_max for rival in rivals), 0.01), 1),
        "worst_drift_over_bound": round(max(worst.drift, *ours), 3),
        "broken_worlds": len(broken),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--worlds", type=int, metavar="N")
    parser.add_argument("--first", type=int, default=0, help="seed of the first world")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    given = parser.parse_args()
    count = given.worlds or (20 if given.quick else 300)
    if given.worlds:
        worst, broken = worlds(count, first=given.first)
        show_worlds(count, worst, broken)
        print(json.dumps({"worlds": count, "worst_drift_over_bound": round(worst.drift, 3), "broken_worlds": len(broken)}))
        sys.exit(1 if broken else 0)
    names = ("1gpu", "4gpu") if given.quick else tuple(LOADS)
    table: Table = {}
    for name in names:
        seconds = {"1gpu": 1_000.0, "4gpu": 800.0}[name] if given.quick else 2_000.0 if LOADS[name].cost_max < 100 else 8_000.0
        table[name] = compare(LOADS[name], seeds=(1,) if given.quick else (1, 2), seconds=seconds, whole=not given.quick)
        show(LOADS[name], table[name])
    if given.plot:
        given.plot.write_text(draw({LOADS[name].title: scores for name, scores in table.items()}), encoding="utf-8")
    worst, broken = worlds(count)
    show_worlds(count, worst, broken)
    print(json.dumps(summary(table, worst, broken)))


if __name__ == "__main__":
    main()
