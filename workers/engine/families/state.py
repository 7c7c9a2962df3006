"""One row under way, for every family: its latents, its scheduler copy, its generator, its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from workers.engine.families.base import LoraSet
from workers.engine.families.linear import LinearStep


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """What the denoiser reads beside the latents of a row."""

    #: (1, L, D) token states.
    states: torch.Tensor
    #: (1, P), where the family has a summary of the whole text.
    pooled: torch.Tensor | None = None
    cut: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class Keep:
    """What of a given picture must stay: blended in again after every step (inpainting without an inpainting model)."""

    #: (1, 1, h, w), 1 where the model may paint.
    mask: torch.Tensor
    #: (1, C, h, w) of the given picture, and the noise that it is mixed with on the way.
    latents: torch.Tensor
    noise: torch.Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class Paste:
    """The given picture's own pixels, for where nothing may change: a decoder never gives them back exactly."""

    #: (H, W, 3) uint8, and (H, W) true where the model painted.
    pixels: Any
    painted: Any


@dataclass(kw_only=True, eq=False)
class Denoising:
    """One row's own. Nothing here is shared with another row but tensors that nobody writes."""

    #: (1, C, h, w), a clip's (1, C, F, h, w), packed families' (1, L, C); in fp32 whatever the model computes in: the
    #: schedule's arithmetic loses bits otherwise.
    latents: torch.Tensor
    scheduler: Any
    #: The part of the schedule that is gone through; shorter than the whole where a picture was given to begin from.
    timesteps: torch.Tensor
    generator: torch.Generator
    takes_generator: bool
    guidance: float
    prompt: Condition
    #: None where guidance has no effect; then the row of the pass is one instead of two.
    negative: Condition | None
    ordered_steps: int
    width: int
    height: int
    keep: Keep | None = None
    paste: Paste | None = None
    #: More channels for inpainting models, (1, 1 + C, h, w); more tokens for edits, (1, L', C).
    beside: torch.Tensor | None = None
    #: Cells of the picture that `beside` holds: (h', w') of an edit's.
    beside_cells: tuple[int, int] = (0, 0)
    loras: LoraSet | None = None
    notes: tuple[str, ...] = ()
    index: int = 0
    #: `timesteps` as numbers: reading them one by one out of a tensor is slow.
    times: list[float] = field(init=False, repr=False)
    #: Weights instead of the scheduler, where the schedule has them.
    linear: tuple[LinearStep, ...] | None = field(default=None, repr=False)
    #: The newest estimate of the finished latents, where the schedule makes one; or what it can be made of.
    guess: torch.Tensor | None = field(default=None, repr=False)
    last: tuple[torch.Tensor, torch.Tensor, LinearStep] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.times = [float(time) for time in self.timesteps]

    @property
    def total_steps(self) -> int:
        """Steps as they were ordered."""
        return self.ordered_steps

    @property
    def steps_done(self) -> int:
        """Steps done; PNDM and Heun evaluate more often than they were asked steps, edits less often."""
        if self.is_done:
            return self.ordered_steps
        return self.index * self.ordered_steps // len(self.timesteps)

    @property
    def is_done(self) -> bool:
        """Whether only decoding is left."""
        return self.index >= len(self.timesteps)

    @property
    def time(self) -> float:
        """Where on the schedule it is."""
        return self.times[self.index]

    def seen(self) -> torch.Tensor:
        """The latents as the denoiser takes them."""
        if self.linear is None:
            return self.scheduler.scale_model_input(self.latents, self.timestep)
        weight = self.linear[self.index].seen
        return self.latents if weight == 1.0 else self.latents * weight

    def advance(self, prediction: torch.Tensor) -> None:
        """Take one step on the schedule."""
        if self.linear is None:
            own_noise = {"generator": self.generator} if self.takes_generator else {}
            out = self.scheduler.step(prediction, self.timestep, self.latents, **own_noise)
            self.guess = getattr(out, "pred_original_sample", None)
            self.latents = out.prev_sample
        else:
            step = self.linear[self.index]
            self.last = (self.latents, prediction, step)
            self.latents = torch.add(self.latents * step.keep, prediction, alpha=step.add)
        self.index += 1

    def guessed(self) -> torch.Tensor:
        """The newest estimate of the finished latents; where the schedule makes none, the latents as they are."""
        if self.last is not None and self.last[2].guess is not None:
            latents, prediction, step = self.last
            keep, add = step.guess or (1.0, 0.0)
            return torch.add(latents * keep, prediction, alpha=add)
        return self.latents if self.guess is None else self.guess

    @property
    def timestep(self) -> torch.Tensor:
        """Where on the schedule it is; a number without dimensions."""
        return self.timesteps[self.index]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """One a row of the pass: under guidance the negative first."""
        return (self.prompt,) if self.negative is None else (self.negative, self.prompt)
