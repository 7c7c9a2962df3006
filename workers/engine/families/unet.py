"""What the UNet families share: rows of latents, one time and one text each, guidance outside the model.

The modules are diffusers' own, unchanged; the loop is ours. Equal to the stock pipelines (eta 0) in fp32.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from workers.engine import schedulers
from workers.engine.errors import RunFailure
from workers.engine.families import beginnings, dressing
from workers.engine.families.autoencoder import Autoencoder, finished
from workers.engine.families.base import LoraSet, RowLoras
from workers.engine.families.beginnings import Beginning
from workers.engine.families.clip_text import Remembered
from workers.engine.families.latent_preview import LatentPreview
from workers.engine.families.linear import LinearSteps
from workers.engine.families.state import Condition, Denoising
from workers.engine.run import RunSpec


@dataclass(frozen=True, kw_only=True, eq=False)
class PassRow:
    """One row of a forward pass."""

    state: Denoising
    condition: Condition
    #: (1, C, …) as the denoiser takes it.
    latents: torch.Tensor


class UnetFamily:
    """A loaded model whose denoiser is a UNet. Subclasses say how their texts are read and their noise is shaped."""

    #: Set after loading; see `base.Family`.
    loras: RowLoras | None = None
    vae_sparing: bool = False
    alone: str | None = None
    #: Which published fit previews use.
    _look = "sd15"

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        self._parts = parts
        self._unet = parts["unet"]
        self._device = device
        self._own_scheduler = parts["scheduler"]
        self._autoencoder = Autoencoder(parts["vae"], cell=pixels_per_cell, device=device)
        self._preview = LatentPreview.of(self._autoencoder, family=self._look)
        self._has_mask_channels = int(self._unet.config.in_channels) != self._autoencoder.channels
        self._memory = Remembered(self._read_texts)
        self._linear = LinearSteps()

    def modules(self) -> Mapping[str, Any]:
        """See `base.Family`."""
        return {name: part for name, part in self._parts.items() if isinstance(part, torch.nn.Module)}

    def pass_key(self, spec: RunSpec) -> Hashable:
        """Convolutions need one size; all else may differ: kinds, steps, guidance, lengths of texts, LoRAs."""
        return spec.width, spec.height

    # Preparing.

    @abstractmethod
    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        """Encode texts in one forward of each text encoder."""

    @torch.inference_mode()
    def prepare(self, specs: Sequence[RunSpec]) -> list[Denoising]:
        """See `base.Family`."""
        sets = [dressing.set_of(self.loras, spec) for spec in specs]
        texts = [(one, [spec.prompt, *([spec.negative] if spec.guidance > 1 else [])]) for one, spec in zip(sets, specs, strict=True)]
        encoded = dressing.encode(self.loras, self._memory, texts)
        return [self._begin(spec, own, worn) for spec, own, worn in zip(specs, encoded, sets, strict=True)]

    def _begin(self, spec: RunSpec, texts: Mapping[str, Condition], worn: LoraSet | None) -> Denoising:
        scheduler = schedulers.make(self._own_scheduler, spec.scheduler)
        # Timesteps and sigmas stay on the CPU: schedulers look them up by value, which on a GPU would stall every step.
        scheduler.set_timesteps(spec.steps)
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        start = self._start(spec, scheduler, generator)
        prompt, negative = texts[spec.prompt], self._negative(spec, texts)
        return Denoising(
            latents=start.latents,
            scheduler=scheduler,
            timesteps=scheduler.timesteps[start.first :],
            generator=generator,
            takes_generator=beginnings.takes_generator(scheduler),
            guidance=spec.guidance,
            prompt=prompt,
            negative=negative,
            ordered_steps=spec.steps,
            width=spec.width,
            height=spec.height,
            keep=start.keep,
            paste=start.paste,
            beside=start.beside,
            loras=worn,
            # What must stay is noised by the scheduler itself, which must then know at which step it is.
            linear=self._linear.of(scheduler, start.first) if start.keep is None else None,
            notes=("prompt_cut",) if prompt.cut or (negative is not None and negative.cut) else (),
        )

    def _negative(self, spec: RunSpec, texts: Mapping[str, Condition]) -> Condition | None:
        return texts[spec.negative] if spec.guidance > 1 else None

    def _start(self, spec: RunSpec, scheduler: Any, generator: torch.Generator) -> Beginning:
        if spec.kind in ("image_to_image", "upscale"):
            return beginnings.from_picture(spec, scheduler, self._autoencoder, generator, self._device)
        if spec.kind == "inpaint":
            return beginnings.painted(
                spec, scheduler, self._autoencoder, generator, self._device, has_mask_channels=self._has_mask_channels
            )
        if spec.kind not in self._from_noise or self._has_mask_channels:
            raise RunFailure("bad_order", f"This model does not do {spec.kind.replace('_', ' ')}.", blame="job")
        return Beginning(latents=beginnings.draw(generator, self._shape(spec), self._device) * scheduler.init_noise_sigma)

    #: The kinds that begin from noise alone.
    _from_noise: tuple[str, ...] = ("text_to_image",)

    def _shape(self, spec: RunSpec) -> tuple[int, ...]:
        cell = self._autoencoder.cell
        return 1, self._autoencoder.channels, spec.height // cell, spec.width // cell

    # The pass.

    @torch.inference_mode()
    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`. A row under guidance is two rows of the pass, negative first; others are one."""
        rows = [row for state in states for row in _rows(state)]
        out = torch.cat([self._passed([row]) for row in rows]) if sparing else self._passed(rows)
        return self._guided(states, out)

    def _passed(self, rows: Sequence[PassRow]) -> torch.Tensor:
        with dressing.rows(self.loras, [row.state.loras for row in rows]):
            out = self._forward(rows)
        if out.shape[0] != len(rows):
            # A cache hook that remembers an older batch does this silently; it would hand out a neighbour's pixels.
            raise RunFailure("engine_error", "The denoiser returned another number of rows than it was given.", blame="infra")
        return out.to(torch.float32)

    def _forward(self, rows: Sequence[PassRow]) -> torch.Tensor:
        context, mask = side_by_side([row.condition.states for row in rows])
        return self._unet(
            torch.cat([row.latents for row in rows]).to(self._unet.dtype),
            self._times(rows),
            encoder_hidden_states=context,
            encoder_attention_mask=mask,
            added_cond_kwargs=self._more(rows),
            return_dict=False,
        )[0]

    def _times(self, rows: Sequence[PassRow]) -> torch.Tensor:
        # One number a row: rows are at different steps of different schedules. fp32 holds every timestep exactly.
        return torch.tensor([row.state.time for row in rows], dtype=torch.float32, device=self._device)

    def _more(self, rows: Sequence[PassRow]) -> dict[str, torch.Tensor] | None:
        """What else the denoiser reads."""
        return None

    @staticmethod
    def _guided(states: Sequence[Denoising], out: torch.Tensor) -> list[torch.Tensor]:
        parts = iter(out.split(1))
        predictions: list[torch.Tensor] = []
        for state in states:
            first = next(parts)
            # lerp is first + guidance * (second - first), in one operation.
            predictions.append(first if state.negative is None else torch.lerp(first, next(parts), state.guidance))
        return predictions

    @torch.inference_mode()
    def step(self, state: Denoising, prediction: torch.Tensor) -> None:
        """See `base.Family`."""
        state.advance(prediction)
        if state.keep is not None:
            following = None if state.is_done else state.timestep
            state.latents = beginnings.kept(state.scheduler, state.keep, state.latents, following)

    # Looking.

    @torch.inference_mode()
    def decode(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[Any]:
        """See `base.Family`."""
        sparing = sparing or self.vae_sparing
        decoded = finished(
            [state.latents for state in states],
            lambda kept: self._autoencoder.decode(torch.cat(kept), sparing=sparing).split(1),
        )
        return [beginnings.pasted(pixels, state.paste) for pixels, state in zip(decoded, states, strict=True)]

    @torch.inference_mode()
    def glimpse(self, state: Denoising) -> torch.Tensor:
        """See `base.Family`."""
        return state.guessed()

    @torch.inference_mode()
    def preview(self, glimpse: torch.Tensor) -> Any:
        """See `base.Family`."""
        return self._preview.pixels(glimpse)


def _rows(state: Denoising) -> list[PassRow]:
    latents = state.seen()
    if state.beside is not None:
        latents = torch.cat([latents, state.beside], dim=1)
    return [PassRow(state=state, condition=condition, latents=latents) for condition in state.conditions]


def side_by_side(texts: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rows of unlike length, padded and masked so that no row reads its padding. (B, L, D) and (B, L) or None."""
    longest = max(text.shape[1] for text in texts)
    if all(text.shape[1] == longest for text in texts):
        return torch.cat(list(texts)), None
    context = texts[0].new_zeros(len(texts), longest, texts[0].shape[2])
    mask = texts[0].new_zeros(len(texts), longest)
    for row, text in enumerate(texts):
        context[row, : text.shape[1]] = text[0]
        mask[row, : text.shape[1]] = 1
    return context, mask
