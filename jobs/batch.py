"""Which jobs may share a forward pass."""

import json
from dataclasses import dataclass
from typing import Self

from jobs.request import Order


@dataclass(frozen=True, kw_only=True, order=True)
class BatchKey:
    """What must be equal for two orders to share a pass; steps, seed, guidance and prompt may differ."""

    kind: str
    model: str
    width: int
    height: int
    frames: int = 0
    detail: str = ""
    """What else must agree on a worker that takes whole requests; empty where rows go their own way step by step."""

    @classmethod
    def of(cls, order: Order, *, strict: bool = False) -> Self:
        """The key of an order; ``strict`` for workers that batch whole requests, where every setting of the sampler is shared."""
        return cls(
            kind=order.kind,
            model=order.model,
            width=order.width,
            height=order.height,
            frames=order.frames or 0,
            detail=_sampler_settings(order) if strict else "",
        )

    @property
    def loras(self) -> frozenset[str]:
        """Names of the LoRAs it takes; a key that is not strict does not say."""
        return frozenset(name for name, _ in json.loads(self.detail)[-1]) if self.detail else frozenset()


def _sampler_settings(order: Order) -> str:
    """Steps, guidance, scheduler, strength, scale and LoRAs as canonical JSON."""
    loras = sorted([use.name, use.weight] for use in order.loras)
    shared = [order.steps, order.guidance, order.scheduler, order.strength, order.fps, order.scale, loras]
    return json.dumps(shared, separators=(",", ":"))
