"""Schedules whose every step is a weighted sum of latents and prediction: their weights are asked of the scheduler once.

A scheduler's step is some forty operations on numbers without dimensions, a quarter of a millisecond of Python for each
row of each pass, while the loop waits. Of DDIM without noise, Euler and flow matching all of that comes to two weights a
step, which depend on nothing but the schedule. They are learned by stepping a copy with ones and zeros, on the thread
that prepares, and remembered for the next row of the same schedule.
"""

from __future__ import annotations

import copy
import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import torch

_CLASSES = frozenset({"DDIMScheduler", "EulerDiscreteScheduler", "FlowMatchEulerDiscreteScheduler"})
#: Settings that make a step depend on more than a weighted sum, or draw noise.
_BENT = ("clip_sample", "thresholding", "stochastic_sampling")
_KEPT = 256


@dataclass(frozen=True, kw_only=True)
class LinearStep:
    """One step: what the denoiser sees is latents * seen, what follows is latents * keep + prediction * add."""

    seen: float
    keep: float
    add: float
    #: The same for the estimate of the finished latents; None where the schedule makes none.
    guess: tuple[float, float] | None


class LinearSteps:
    """The weights of schedules, remembered. For the thread that prepares."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[LinearStep, ...]] = OrderedDict()

    def of(self, scheduler: Any, first: int) -> tuple[LinearStep, ...] | None:
        """A step for each of the timesteps from `first`, or None where the schedule is of another kind."""
        if type(scheduler).__name__ not in _CLASSES or any(scheduler.config.get(name) for name in _BENT):
            return None
        key = _key(scheduler, first)
        if key not in self._known:
            self._known[key] = _asked(copy.deepcopy(scheduler), scheduler.timesteps[first:])
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        return self._known[key]


def _key(scheduler: Any, first: int) -> str:
    times = [float(time) for time in scheduler.timesteps]
    # Flow matching's sigmas are not said by its timesteps alone once a setting bends them.
    sigmas = [float(sigma) for sigma in scheduler.sigmas] if hasattr(scheduler, "sigmas") else []
    return json.dumps([type(scheduler).__name__, dict(scheduler.config), times, sigmas, first], default=str)


@torch.inference_mode()
def _asked(scheduler: Any, times: torch.Tensor) -> tuple[LinearStep, ...]:
    ones, zeros = torch.tensor([1.0, 0.0]).reshape(2, 1, 1, 1), torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1)
    steps: list[LinearStep] = []
    for time in times:
        seen = float(scheduler.scale_model_input(ones, time)[0]) if hasattr(scheduler, "scale_model_input") else 1.0
        out = scheduler.step(zeros, time, ones)
        keep, add = (float(number) for number in out.prev_sample.flatten())
        guess = getattr(out, "pred_original_sample", None)
        guessed = None if guess is None else (float(guess.flatten()[0]), float(guess.flatten()[1]))
        steps.append(LinearStep(seen=seen, keep=keep, add=add, guess=guessed))
    return tuple(steps)
