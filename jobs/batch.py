"""Which jobs may share a forward pass, and the reason when they may not."""

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

    def why_not(self, other: Self) -> str | None:
        """The first reason these two cannot share a pass, or None when they can."""
        for reason in ("kind", "model", "width", "height"):
            if getattr(self, reason) != getattr(other, reason):
                return f"other_{'size' if reason in ('width', 'height') else reason}"
        return None
