"""Which jobs may share a forward pass."""

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

    @classmethod
    def of(cls, order: Order) -> Self:
        """The key of an order."""
        return cls(kind=order.kind, model=order.model, width=order.width, height=order.height)
