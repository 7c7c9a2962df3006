"""Stable Diffusion 1.x and everything of its shape: a UNet over latents, CLIP text, a convolutional decoder.

The modules are diffusers' own, unchanged; the loop is ours. Equal to StableDiffusionPipeline (eta 0) in fp32.
"""

from __future__ import annotations

import inspect
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from workers.engine import schedulers
from workers.engine.errors import RunFailure
from workers.engine.families.clip_text import ClipText, Encoded
from workers.engine.families.latent_preview import LatentPreview
from workers.engine.run import RunSpec


@dataclass(kw_only=True, eq=False)
class Denoising:
    """One run's own. Nothing here is shared with another run but tensors that nobody writes."""

    #: (1, C, h, w) in fp32, whatever the model computes in: the schedule's arithmetic loses bits otherwise.
    latents: torch.Tensor
    scheduler: Any
    generator: torch.Generator
    guidance: float
    prompt: Encoded
    #: None where guidance has no effect; then the run is one row instead of two.
    negative: Encoded | None
    ordered_steps: int
    takes_generator: bool
    index: int = 0
    #: The newest estimate of the finished latents, where the schedule makes one.
    guess: torch.Tensor | None = field(default=None, repr=False)

    @property
    def total_steps(self) -> int:
        """Steps as they were ordered."""
        return self.ordered_steps

    @property
    def steps_done(self) -> int:
        """Steps done; PNDM and Heun evaluate more often than they were asked steps."""
        return self.index * self.ordered_steps // len(self.scheduler.timesteps)

    @property
    def is_done(self) -> bool:
        """Whether only decoding is left."""
        return self.index >= len(self.scheduler.timesteps)

    @property
    def notes(self) -> tuple[str, ...]:
        """``prompt_cut`` where the end of a prompt had no room."""
        return ("prompt_cut",) if self.prompt.cut or (self.negative is not None and self.negative.cut) else ()

    @property
    def timestep(self) -> torch.Tensor:
        """Where on the schedule it is; a number without dimensions."""
        return self.scheduler.timesteps[self.index]


class StableDiffusion15:
    """A loaded model of the family."""

    def __init__(self, *, unet: Any, vae: Any, text: ClipText, scheduler: Any, pixels_per_cell: int, device: torch.device) -> None:
        self._unet = unet
        self._vae = vae
        self._text = text
        self._own_scheduler = scheduler
        self._cell = pixels_per_cell
        self._device = device
        self._preview = LatentPreview.of(vae, channels=int(unet.config.in_channels))

    def pass_key(self, spec: RunSpec) -> Hashable:
        """Convolutions need one size; all else may differ."""
        return spec.width, spec.height

    @torch.inference_mode()
    def prepare(self, specs: Sequence[RunSpec]) -> list[Denoising]:
        """See `base.Family`."""
        texts = [spec.prompt for spec in specs] + [spec.negative for spec in specs if spec.guidance > 1]
        encoded = dict(zip(texts, self._text.encode(texts), strict=True))
        return [self._begin(spec, encoded) for spec in specs]

    def _begin(self, spec: RunSpec, encoded: dict[str, Encoded]) -> Denoising:
        scheduler = schedulers.make(self._own_scheduler, spec.scheduler)
        # Timesteps and sigmas stay on the CPU: schedulers look them up by value, which on a GPU would stall every step.
        scheduler.set_timesteps(spec.steps)
        # A CPU generator, so that a seed means the same picture on every device.
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        shape = (1, int(self._unet.config.in_channels), spec.height // self._cell, spec.width // self._cell)
        noise = torch.randn(shape, generator=generator, dtype=torch.float32).to(self._device)
        return Denoising(
            latents=noise * scheduler.init_noise_sigma,
            scheduler=scheduler,
            generator=generator,
            guidance=spec.guidance,
            prompt=encoded[spec.prompt],
            negative=encoded[spec.negative] if spec.guidance > 1 else None,
            ordered_steps=spec.steps,
            takes_generator="generator" in inspect.signature(scheduler.step).parameters,
        )

    @torch.inference_mode()
    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`. A run under guidance is two rows, negative first; others are one."""
        rows: list[torch.Tensor] = []
        times: list[torch.Tensor] = []
        texts: list[torch.Tensor] = []
        for state in states:
            row = state.scheduler.scale_model_input(state.latents, state.timestep)
            for text in (state.negative, state.prompt):
                if text is not None:
                    rows.append(row)
                    times.append(state.timestep)
                    texts.append(text.states)
        if sparing:
            parts = [self._forward([row], [t], [text]) for row, t, text in zip(rows, times, texts, strict=True)]
            return self._guided(states, torch.cat(parts))
        return self._guided(states, self._forward(rows, times, texts))

    def _forward(self, rows: list[torch.Tensor], times: list[torch.Tensor], texts: list[torch.Tensor]) -> torch.Tensor:
        dtype = self._unet.dtype
        context, mask = _side_by_side(texts)
        out = self._unet(
            torch.cat(rows).to(dtype),
            # One number a row: runs are at different steps of different schedules. fp32 holds every timestep exactly.
            torch.stack([t.to(torch.float32) for t in times]).to(self._device),
            encoder_hidden_states=context,
            encoder_attention_mask=mask,
            return_dict=False,
        )[0]
        if out.shape[0] != len(rows):
            # A cache hook that remembers an older batch does this silently; it would hand out a neighbour's pixels.
            raise RunFailure("engine_error", "The denoiser returned another number of rows than it was given.", blame="infra")
        return out.to(torch.float32)

    @staticmethod
    def _guided(states: Sequence[Denoising], out: torch.Tensor) -> list[torch.Tensor]:
        predictions: list[torch.Tensor] = []
        at = 0
        for state in states:
            if state.negative is None:
                predictions.append(out[at : at + 1])
                at += 1
            else:
                without, given = out[at : at + 1], out[at + 1 : at + 2]
                predictions.append(without + state.guidance * (given - without))
                at += 2
        return predictions

    @torch.inference_mode()
    def step(self, state: Denoising, prediction: torch.Tensor) -> None:
        """See `base.Family`."""
        own_noise = {"generator": state.generator} if state.takes_generator else {}
        out = state.scheduler.step(prediction, state.timestep, state.latents, **own_noise)
        state.guess = getattr(out, "pred_original_sample", None)
        state.latents = out.prev_sample
        state.index += 1

    @torch.inference_mode()
    def decode(self, state: Denoising, *, sparing: bool = False) -> Any:
        """See `base.Family`. The whole picture is decoded alone: a decoder's memory is larger than the denoiser's."""
        _refuse_not_finite(state.latents, "The steps ran into numbers that are not finite")
        # AutoencoderTiny tiles by the number of its colours instead of its levels, and needs little memory anyway.
        self._vae.use_tiling = sparing and type(self._vae).__name__ == "AutoencoderKL"
        image = self._decoded(state.latents)
        _refuse_not_finite(image, "The decoder ran into numbers that are not finite")
        pixels = (image[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)  # (H, W, 3)
        return (pixels * 255).round().to(torch.uint8).cpu().numpy()

    def _decoded(self, latents: torch.Tensor) -> torch.Tensor:
        scaled = latents / self._vae.config.scaling_factor
        image = self._vae.decode(scaled.to(self._vae.dtype), return_dict=False)[0].to(torch.float32)
        if self._vae.dtype == torch.float32 or bool(torch.isfinite(image).all()):
            return image
        # Known of several fine-tuned decoders: half precision overflows where full does not.
        before = self._vae.dtype
        try:
            return self._vae.to(torch.float32).decode(scaled, return_dict=False)[0]
        finally:
            self._vae.to(before)

    @torch.inference_mode()
    def preview(self, state: Denoising) -> Any:
        """See `base.Family`."""
        return self._preview.pixels(state.latents if state.guess is None else state.guess)


def _side_by_side(texts: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows of unlike length, padded and masked so that no row reads its padding. (B, L, D) and (B, L) or None."""
    longest = max(text.shape[1] for text in texts)
    if all(text.shape[1] == longest for text in texts):
        return torch.cat(texts), None
    context = texts[0].new_zeros(len(texts), longest, texts[0].shape[2])
    mask = texts[0].new_zeros(len(texts), longest)
    for row, text in enumerate(texts):
        context[row, : text.shape[1]] = text[0]
        mask[row, : text.shape[1]] = 1
    return context, mask


def _refuse_not_finite(numbers: torch.Tensor, what: str) -> None:
    if not bool(torch.isfinite(numbers).all()):
        raise RunFailure("not_finite", f"{what}; other steps or guidance may do.", blame="job")
