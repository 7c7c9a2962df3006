"""Several weighted LoRAs as one: their ranks side by side, their weights multiplied into the second factor."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch

from workers.engine.loras.weights import Factors, LoraWeights


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One layer's addition ``up(down(x))`` on the device, weights and scales within."""

    #: Linear: (in, rank); convolution: (rank, in, kh, kw).
    down: torch.Tensor
    #: Linear: (rank, out); convolution: (out, rank, 1, 1).
    up: torch.Tensor

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return self.down.nbytes + self.up.nbytes


@dataclass(frozen=True, kw_only=True, eq=False)
class LoraSet:
    """What one run wears. Two runs with the same LoRAs and weights wear the same object."""

    #: Name and weight, by name.
    uses: tuple[tuple[str, float], ...]
    #: Part -> layer -> its addition.
    parts: Mapping[str, Mapping[str, Pair]]
    #: What the prompt's encoding depends on; None where no text encoder is touched.
    text_key: Hashable | None

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        return sum(pair.bytes for layers in self.parts.values() for pair in layers.values())


@torch.inference_mode()
def baked(loaded: Sequence[tuple[LoraWeights, float]], *, device: torch.device, dtype: torch.dtype) -> LoraSet:
    """Join weighted LoRAs into one set on a device. Source of the identity: sum of w_i B_i A_i = [w_i B_i] [A_i]."""
    parts: dict[str, dict[str, list[tuple[Factors, float]]]] = {}
    for lora, weight in loaded:
        for part, layers in lora.parts.items():
            for layer, factors in layers.items():
                parts.setdefault(part, {}).setdefault(layer, []).append((factors, weight))
    of_text = tuple((lora.source, weight) for lora, weight in loaded if any(part.startswith("text") for part in lora.parts))
    return LoraSet(
        uses=tuple((lora.source.name, weight) for lora, weight in loaded),
        parts={part: {layer: _joined(several, device, dtype) for layer, several in layers.items()} for part, layers in parts.items()},
        text_key=of_text or None,
    )


def _joined(several: Sequence[tuple[Factors, float]], device: torch.device, dtype: torch.dtype) -> Pair:
    # Scaled in fp32: in half precision a small alpha over a large rank would lose its last bits twice.
    down = torch.cat([factors.down.float() for factors, _ in several], dim=0)
    up = torch.cat([factors.up.float() * (factors.scale * weight) for factors, weight in several], dim=1)
    if down.ndim == 2:
        down, up = down.T, up.T
    return Pair(down=down.to(device, dtype).contiguous(), up=up.to(device, dtype).contiguous())
