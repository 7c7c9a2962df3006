"""What the flow matching families share: a schedule that is shifted by the picture's size, and one row of it a request."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
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

#: The schedules' measure of time; the denoisers take shares of it.
TIMES = 1000.0


class FlowFamily:
    """A loaded model whose denoiser is a transformer that predicts a velocity. Latents are kept as (1, C, h, w)."""

    #: Set after loading; see `base.Family`.
    loras: RowLoras | None = None
    vae_sparing: bool = False
    alone: str | None = None
    #: The most tokens of a prompt that are read.
    _tokens_max = 512

    def __init__(self, *, parts: Mapping[str, Any], pixels_per_cell: int, device: torch.device) -> None:
        self._parts = parts
        self._transformer = parts["transformer"]
        self._device = device
        self._own_scheduler = parts["scheduler"]
        self._autoencoder = Autoencoder(parts["vae"], cell=pixels_per_cell, device=device)
        self._preview = LatentPreview.of(self._autoencoder, family="flow")
        self._memory = Remembered(self._read_texts)
        self._linear = LinearSteps()

    def modules(self) -> Mapping[str, Any]:
        """See `base.Family`."""
        return {name: part for name, part in self._parts.items() if isinstance(part, torch.nn.Module)}

    @abstractmethod
    def pass_key(self, spec: RunSpec) -> Hashable:
        """See `base.Family`."""

    @abstractmethod
    def _read_texts(self, texts: Sequence[str]) -> list[Condition]:
        """Encode texts in one forward of each text encoder."""

    @abstractmethod
    def _is_guided(self, spec: RunSpec) -> bool:
        """Whether a row needs a second one without its text."""

    @abstractmethod
    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`."""

    # Preparing.

    @torch.inference_mode()
    def prepare(self, specs: Sequence[RunSpec]) -> list[Denoising]:
        """See `base.Family`."""
        sets = [dressing.set_of(self.loras, spec) for spec in specs]
        texts = [(one, [spec.prompt, *([spec.negative] if self._is_guided(spec) else [])]) for one, spec in zip(sets, specs, strict=True)]
        encoded = dressing.encode(self.loras, self._memory, texts)
        return [self._begin(spec, own, worn) for spec, own, worn in zip(specs, encoded, sets, strict=True)]

    def _begin(self, spec: RunSpec, texts: Mapping[str, Condition], worn: LoraSet | None) -> Denoising:
        scheduler = schedulers.make(self._own_scheduler, spec.scheduler)
        self._set_timesteps(scheduler, spec)
        generator = torch.Generator("cpu").manual_seed(spec.seed)
        start = self._start(spec, scheduler, generator)
        prompt = texts[spec.prompt]
        negative = texts[spec.negative] if self._is_guided(spec) else None
        beside = self._beside(spec)
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
            beside=beside,
            loras=worn,
            linear=self._linear.of(scheduler, start.first),
            notes=self._notes(spec, prompt, negative),
        )

    def _notes(self, spec: RunSpec, prompt: Condition, negative: Condition | None) -> tuple[str, ...]:
        cut = ("prompt_cut",) if prompt.cut or (negative is not None and negative.cut) else ()
        return (*cut, "negative_ignored") if spec.negative and negative is None else cut

    def _set_timesteps(self, scheduler: Any, spec: RunSpec) -> None:
        """Steps spread evenly and then shifted to noisier ones, the more the larger the picture (as the pipelines do)."""
        height, width = self._cells(spec)
        tokens = (height // 2) * (width // 2)
        settings = scheduler.config
        low, high = settings.get("base_image_seq_len", 256), settings.get("max_image_seq_len", 4096)
        least, most = settings.get("base_shift", 0.5), settings.get("max_shift", 1.15)
        slope = (most - least) / (high - low)
        sigmas = torch.linspace(1.0, 1 / spec.steps, spec.steps, dtype=torch.float64).tolist()
        scheduler.set_timesteps(sigmas=sigmas, mu=tokens * slope + least - slope * low)

    def _start(self, spec: RunSpec, scheduler: Any, generator: torch.Generator) -> Beginning:
        if spec.kind in ("image_to_image", "upscale"):
            return beginnings.from_picture(spec, scheduler, self._autoencoder, generator, self._device)
        if spec.kind not in self._from_noise:
            raise RunFailure("bad_order", f"This model does not do {spec.kind.replace('_', ' ')}.", blame="job")
        scheduler.set_begin_index(0)
        shape = (1, self._autoencoder.channels, *self._cells(spec))
        return Beginning(latents=beginnings.draw(generator, shape, self._device))

    #: The kinds that begin from noise alone.
    _from_noise: tuple[str, ...] = ("text_to_image",)

    def _cells(self, spec: RunSpec) -> tuple[int, int]:
        return spec.height // self._autoencoder.cell, spec.width // self._autoencoder.cell

    def _beside(self, spec: RunSpec) -> torch.Tensor | None:
        """Latents of a picture that the denoiser looks at."""
        return None

    # The pass.

    def _passed(self, out: Sequence[torch.Tensor], rows: int) -> list[torch.Tensor]:
        if len(out) != rows:
            # A cache hook that remembers an older batch does this silently; it would hand out a neighbour's pixels.
            raise RunFailure("engine_error", "The denoiser returned another number of rows than it was given.", blame="infra")
        return [one.to(torch.float32) for one in out]

    @torch.inference_mode()
    def step(self, state: Denoising, prediction: torch.Tensor) -> None:
        """See `base.Family`."""
        time = state.time
        before = state.latents
        state.advance(prediction)
        # By the definition of flow matching: the velocity, followed from here to the end.
        state.last, state.guess = None, before - time / TIMES * prediction

    # Looking.

    @torch.inference_mode()
    def decode(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[Any]:
        """See `base.Family`. Pictures of unlike sizes are decoded one by one."""
        sparing = sparing or self.vae_sparing

        def decode(kept: list[torch.Tensor]) -> list[torch.Tensor]:
            if all(one.shape == kept[0].shape for one in kept):
                return list(self._autoencoder.decode(torch.cat(kept), sparing=sparing).split(1))
            return [self._autoencoder.decode(one, sparing=sparing) for one in kept]

        return finished([state.latents for state in states], decode)

    def glimpse(self, state: Denoising) -> torch.Tensor:
        """See `base.Family`."""
        return state.guessed()

    @torch.inference_mode()
    def preview(self, glimpse: torch.Tensor) -> Any:
        """See `base.Family`."""
        return self._preview.pixels(glimpse)
