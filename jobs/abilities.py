"""What each worker can do, and the pools that follow: workers that can do the same share one clock of fairness."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.batch import BatchKey
from jobs.fairness import PoolId, PoolShape


@dataclass(frozen=True, kw_only=True)
class Ability:
    """One worker. ``models`` names what it can load; sizes in pixels, all frames of a clip together."""

    worker: str
    models: frozenset[str]
    kinds: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Kinds of request by model; a model without an entry takes every kind."""
    pixels_max: Mapping[str, int] = field(default_factory=dict)
    """The largest picture by model, where memory sets a limit."""
    loras: frozenset[str] = frozenset()
    """LoRAs that it has."""
    speed: float = 1.0
    """Measured, against the reference worker."""

    def can(self, key: BatchKey) -> bool:
        """Whether this worker can make what ``key`` describes."""
        if key.model not in self.models or key.kind not in self.kinds.get(key.model, frozenset({key.kind})):
            return False
        if not key.loras <= self.loras:
            return False
        return key.width * key.height * max(key.frames, 1) <= self.pixels_max.get(key.model, 1 << 62)


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """The fleet, as every host sees it: online or heard of lately, so that a short absence is no change.

    Its :meth:`need` names what a job needs. Most jobs need their model; one that only some of the model's workers can make (too
    large for the others, with a LoRA that they lack, or known to have failed there) has a longer name and so, perhaps, a pool of its own.
    """

    workers: tuple[Ability, ...] = ()

    def able(self, key: BatchKey, exclude: frozenset[str] = frozenset()) -> frozenset[str]:
        """The workers that can make it."""
        return frozenset(worker.worker for worker in self.workers if worker.worker not in exclude and worker.can(key))

    def owners(self, model: str) -> frozenset[str]:
        """The workers that have the model."""
        return frozenset(worker.worker for worker in self.workers if model in worker.models)

    def need(self, key: BatchKey, exclude: frozenset[str] = frozenset()) -> tuple[str, frozenset[str]]:
        """(what it needs, the workers that have that)."""
        able, owners = self.able(key, exclude), self.owners(key.model)
        return (key.model if able == owners else f"{key.model} on {_digest(able)}"), able

    def needs(self) -> dict[str, frozenset[str]]:
        """Every model with its workers."""
        models = sorted({model for worker in self.workers for model in worker.models})
        return {model: self.owners(model) for model in models}


def _digest(workers: frozenset[str]) -> str:
    """A short name for a set of workers; the set itself may be thousands of characters long."""
    return hashlib.sha256("\0".join(sorted(workers)).encode()).hexdigest()[:12]


def pools_of(needs: Mapping[str, frozenset[str]], known: Mapping[frozenset[str], PoolId]) -> list[PoolShape]:
    """One pool for each set of workers; what nobody can do has none. ``known`` sets keep their names."""
    together: dict[frozenset[str], list[str]] = {}
    for need, workers in needs.items():
        if workers:
            together.setdefault(workers, []).append(need)
    taken = {known[workers] for workers in together if workers in known}
    shapes: list[PoolShape] = []
    for workers, names in sorted(together.items(), key=lambda item: min(item[1])):
        name = known.get(workers) or next(name for name in (*sorted(names), f"{min(names)} on {_digest(workers)}") if name not in taken)
        taken.add(name)
        shapes.append(PoolShape(id=name, needs=frozenset(names), workers=workers))
    return shapes
