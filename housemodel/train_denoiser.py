"""Trains the denoiser (and with it the text encoder): the long part, three quarters of an hour of one CPU core.

Three things make so short a training obedient: big objects in places that captions fix, an error that counts cells with
objects four times, and noise levels drawn by the angle of the mix instead of by the step.
"""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from housemodel.dataset import Scenes, write_captions
from housemodel.parts import build_scheduler
from housemodel.train_text import tokenize


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The settings of the denoiser's training."""

    steps: int = 3400
    batch: int = 64
    rate: float = 1.7e-3
    warm_up: int = 200
    constant: float = 0.5
    average: float = 0.999
    empty: float = 0.1
    seed: int = 7
    save_every: int = 100


class Denoising(torch.nn.Module):
    """Text encoder and denoiser as one trainable whole."""

    def __init__(self, text: CLIPTextModel, denoiser: UNet2DConditionModel) -> None:
        super().__init__()
        self.text = text
        self.denoiser = denoiser

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Predicted v for latents (n, 12, 8, 8) at times (n,) under token ids (n, 40)."""
        states = self.text(ids).last_hidden_state
        return self.denoiser(noisy, times, encoder_hidden_states=states).sample


def draw_times(count: int, alphas: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Steps whose angle arccos(sqrt(alpha)) is (pi/2) sigmoid(N(.6, 1)): more of them where objects are decided."""
    angles = torch.sigmoid(torch.randn(count, generator=generator) + 0.6) * (math.pi / 2)
    wanted = torch.cos(angles) ** 2
    return (alphas[None] - wanted[:, None]).abs().argmin(dim=1)


def loss_of(
    model: Denoising, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], alphas: torch.Tensor,
    generator: torch.Generator,
) -> torch.Tensor:  # fmt: skip
    """The weighted squared error of v for a batch of latents, cell weights and token ids."""
    latents, weights, ids = batch
    times = draw_times(len(latents), alphas, generator)
    signal = alphas[times].sqrt()[:, None, None, None]
    rest = (1 - alphas[times]).sqrt()[:, None, None, None]
    noise = torch.randn(latents.shape, generator=generator)
    said = model(signal * latents + rest * noise, times, ids)
    return (weights * (said - (signal * noise - rest * latents)) ** 2).mean()


def rate_at(step: int, plan: Plan) -> float:
    """Warm-up, constant, then a cosine down to 2 %."""
    if step < plan.warm_up:
        return (step + 1) / plan.warm_up
    turn = plan.steps * plan.constant
    share = min(1.0, max(0.0, (step - turn) / (plan.steps - turn)))
    return 0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2


class Course:
    """A training under way: model, weight average, optimiser and random states; can be saved and taken up again."""

    def __init__(self, model: Denoising, plan: Plan, file: Path | None) -> None:
        self.model, self.plan, self.file = model, plan, file
        self.average = copy.deepcopy(model).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(model.parameters(), lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.generator = torch.Generator().manual_seed(plan.seed)
        self.rng = np.random.default_rng(plan.seed)
        self.step, self.spent = 0, 0.0
        if file is not None and file.exists():
            self._restore(torch.load(file, weights_only=False))

    def _restore(self, state: dict) -> None:
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.generator.set_state(state["generator"])
        self.rng.bit_generator.state = state["rng"]
        self.step, self.spent = state["step"], state["spent"]

    def save(self) -> None:
        """Write the state beside the file and swap it in, so that a kill at any moment leaves a whole file."""
        if self.file is None:
            return
        state = {
            "model": self.model.state_dict(), "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(), "generator": self.generator.get_state(),
            "rng": self.rng.bit_generator.state, "step": self.step, "spent": self.spent,
        }  # fmt: skip
        beside = self.file.with_suffix(".part")
        torch.save(state, beside)
        beside.replace(self.file)

    def advance(self, batch: tuple[torch.Tensor, torch.Tensor, torch.Tensor], alphas: torch.Tensor) -> float:
        """One step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.plan.rate * rate_at(self.step, self.plan)
        loss = loss_of(self.model, batch, alphas, self.generator)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.plan.average, self.step / (self.step + 19))
        pairs = zip(self.average.parameters(), self.model.parameters(), strict=True)
        old, new = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(old, [parameter.detach() for parameter in new], 1 - keep)


def train_denoiser(course: Course, data: Scenes, tokenizer: CLIPTokenizer, report: Callable[[int, float], None]) -> None:
    """Run the course to the end of its plan, saving now and then; `report` gets the step and the loss."""
    alphas = build_scheduler().alphas_cumprod
    plan = course.plan
    while course.step < plan.steps:
        started = time.process_time()
        picked = course.rng.integers(len(data.scenes), size=plan.batch)
        captions = write_captions([data.scenes[i] for i in picked], course.rng, plan.empty)
        rows = torch.from_numpy(picked)
        batch = (data.latents[rows], data.weights[rows], tokenize(tokenizer, captions))
        loss = course.advance(batch, alphas)
        course.spent += time.process_time() - started
        report(course.step, loss)
        if course.step % plan.save_every == 0:
            course.save()
    course.save()
