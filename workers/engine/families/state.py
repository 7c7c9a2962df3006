"""One row under way, for every family: its latents, its scheduler copy, its generator, its conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from workers.engine.families.base import LoraSet


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
    #: More channels for inpainting models, (1, 1 + C, h, w); more tokens for edits, (1, L', C).
    beside: torch.Tensor | None = None
    #: Cells of the picture that `beside` holds: (h', w') of an edit's.
    beside_cells: tuple[int, int] = (0, 0)
    loras: LoraSet | None = None
    notes: tuple[str, ...] = ()
    index: int = 0
    #: The newest estimate of the finished latents, where the schedule makes one.
    guess: torch.Tensor | None = field(default=None, repr=False)

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
    def timestep(self) -> torch.Tensor:
        """Where on the schedule it is; a number without dimensions."""
        return self.timesteps[self.index]

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """One a row of the pass: under guidance the negative first."""
        return (self.prompt,) if self.negative is None else (self.negative, self.prompt)
