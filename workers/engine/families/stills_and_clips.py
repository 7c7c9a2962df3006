"""A Stable Diffusion 1.x model with motion modules beside it: pictures by its own UNet, clips by one that moves.

Both UNets read the same weights; only the motion modules are more.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from workers.engine.families.animatediff import AnimateDiff
from workers.engine.families.base import RowLoras
from workers.engine.families.sd15 import StableDiffusion15
from workers.engine.families.state import Denoising
from workers.engine.families.unet import UnetFamily
from workers.engine.run import RunSpec


class StillsAndClips:
    """A loaded model of the family, which hands each request to the one of the two that makes it."""

    def __init__(self, *, stills: StableDiffusion15, clips: AnimateDiff) -> None:
        #: Each is dressed in LoRAs and checked for parity on its own.
        self.members: tuple[StableDiffusion15, AnimateDiff] = (stills, clips)
        self._stills, self._clips = stills, clips

    @property
    def loras(self) -> RowLoras | None:
        """See `base.Family`; set on its members."""
        return self._stills.loras

    @loras.setter
    def loras(self, loras: RowLoras | None) -> None:
        self._stills.loras = loras

    @property
    def vae_sparing(self) -> bool:
        """See `base.Family`."""
        return self._stills.vae_sparing

    @vae_sparing.setter
    def vae_sparing(self, sparing: bool) -> None:
        self._stills.vae_sparing = self._clips.vae_sparing = sparing

    @property
    def alone(self) -> str | None:
        """See `base.Family`: where one of the two must work alone, both do."""
        return self._stills.alone or self._clips.alone

    @alone.setter
    def alone(self, why: str | None) -> None:
        self._stills.alone = why

    def modules(self) -> Mapping[str, Any]:
        """See `base.Family`."""
        return {**self._stills.modules(), "motion_unet": self._clips.modules()["unet"]}

    def pass_key(self, spec: RunSpec) -> Hashable:
        """See `base.Family`."""
        return self._of_kind(spec.kind).pass_key(spec)

    def prepare(self, specs: Sequence[RunSpec]) -> list[Denoising]:
        """See `base.Family`."""
        prepared: dict[int, Denoising] = {}
        for member in self.members:
            own = [index for index, spec in enumerate(specs) if self._of_kind(spec.kind) is member]
            prepared |= zip(own, member.prepare([specs[index] for index in own]), strict=True)
        return [prepared[index] for index in range(len(specs))]

    def denoise(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[torch.Tensor]:
        """See `base.Family`."""
        return self._of(states[0]).denoise(states, sparing=sparing)

    def step(self, state: Denoising, prediction: torch.Tensor) -> None:
        """See `base.Family`."""
        self._of(state).step(state, prediction)

    def decode(self, states: Sequence[Denoising], *, sparing: bool = False) -> list[Any]:
        """See `base.Family`."""
        return self._of(states[0]).decode(states, sparing=sparing)

    def glimpse(self, state: Denoising) -> torch.Tensor:
        """See `base.Family`."""
        return self._of(state).glimpse(state)

    def preview(self, glimpse: torch.Tensor) -> Any:
        """See `base.Family`."""
        return self._stills.preview(glimpse)

    def _of_kind(self, kind: str) -> UnetFamily:
        return self._clips if kind == "animate" else self._stills

    def _of(self, state: Denoising) -> UnetFamily:
        return self._clips if state.latents.ndim == 5 else self._stills


def moving_unet(unet: Any, adapter: Any) -> Any:
    """A motion UNet of diffusers that shares the weights of a plain one."""
    from diffusers.models.unets.unet_motion_model import UNetMotionModel

    moving: Any = UNetMotionModel.from_unet2d(unet, adapter)
    moving = moving.to(unet.device, unet.dtype)
    own = dict(unet.named_parameters())
    for name, weight in moving.named_parameters():
        if name in own and own[name].shape == weight.shape:
            weight.data = own[name].data
    return moving
