"""The parity guard: a row's prediction in company must be what it is alone, or the model makes its pictures alone.

Two looks. `check` draws a few whole pictures after a model was loaded, alone and then together, of unlike prompts, steps
and guidance, one joining late: it sees shared schedules, noise drawn for a batch, dropped masks, mixed-up LoRA rows.
`Canary` repeats one row of a shared pass alone from time to time while the engine runs. What they find turns batching
off for the model, with the reason in the log and in the worker's capabilities.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from PIL import Image

from workers.engine.catalog import ModelSource
from workers.engine.errors import RunFailure
from workers.engine.families.base import Family
from workers.engine.run import LoraUse, RunKind, RunSpec

_log = logging.getLogger(__name__)

#: The largest difference in fp32, as a share of the largest number.
FULL_PRECISION = 1e-5
#: In half precision: so many units in the last place. Other kernels are chosen for other batch sizes; a neighbour's
#: prompt or a dropped mask moves hundreds of times as much (tests/workers/test_parity_guard.py measures both).
HALF_PRECISION_UNITS = 8.0
#: Shared passes of a model between two looks of the canary: its extra row costs less than 1 % then.
CANARY_EVERY = 256

_LONG = "a long wish, " * 12
#: (turn at which it joins, prompt, steps, guidance)
_COMPANY = ((0, "a red star", 2, 3.0), (0, _LONG, 3, 6.0), (1, "", 2, 1.0))


def bound(precision: str) -> float:
    """The largest difference that is rounding, for a precision as `DeviceFacts` names it."""
    units = {"float16": 2.0**-10, "bfloat16": 2.0**-7}
    return HALF_PRECISION_UNITS * units[precision] if precision in units else FULL_PRECISION


def difference(one: Any, other: Any) -> float:
    """The largest difference of two tensors as a share of the largest number; infinite where shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    scale = max(1.0, float(other.abs().max()))
    gap = float((one - other).abs().max()) / scale
    return gap if gap == gap else float("inf")


def check(family: Family, plain: RunSpec, *, precision: str, loras: Sequence[LoraUse] = ()) -> str | None:
    """Why this model must make its pictures alone, or None where company changes nothing.

    `plain` is the smallest spec that it takes; its prompt, steps, guidance and seed are replaced.
    """
    worn: list[tuple[LoraUse, ...]] = [(), *((use,) for use in loras[:2]), ()]
    specs = [
        replace(plain, prompt=prompt, steps=steps, guidance=guidance, seed=index + 1, loras=worn[index % len(worn)])
        for index, (_, prompt, steps, guidance) in enumerate(_COMPANY)
    ]
    together = _together(family, specs, [joins for joins, *_ in _COMPANY])
    gaps = [difference(mixed.latents, alone(family, spec).latents) for mixed, spec in zip(together, specs, strict=True)]
    if max(gaps) <= bound(precision):
        return None
    return (
        f"a picture made in company differs from the same made alone by {max(gaps):.2g} (allowed: {bound(precision):.2g}); "
        "its pictures are made one at a time"
    )


def guard(family: Family, source: ModelSource, *, precision: str) -> None:
    """Check a model that was just loaded and write the verdict into `family.alone`.

    A check that cannot be made (memory ran out, say) is no verdict against the model: the canary looks at its first pass.
    """
    kinds: tuple[RunKind, ...] = ("animate",) if source.motion is not None else ()
    try:
        for kind in (source.shape.kinds[0], *kinds):
            family.alone = family.alone or check(family, smallest(source, kind), precision=precision)
    except Exception as error:  # noqa: BLE001 - whatever it is, the model's first run will meet it and be told
        _log.warning("The parity of the model %s could not be checked: %s", source.name, type(error).__name__)


def smallest(source: ModelSource, kind: RunKind | None = None) -> RunSpec:
    """The cheapest request of a kind that a model takes."""
    shape = source.shape
    side = max(shape.side_min, shape.size_multiple)
    kind = kind or shape.kinds[0]
    given = _grey(side) if kind in ("inpaint", "image_to_image", "edit", "upscale") else None
    return RunSpec(
        model=source.name,
        kind=kind,
        prompt="",
        width=side,
        height=side,
        steps=2,
        guidance=3.0,
        seed=1,
        image=given,
        mask=given if kind == "inpaint" else None,
        strength=1.0 if given is not None else None,
        frames=min(4, shape.frames_max) if kind == "animate" else None,
    )


def _grey(side: int) -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").resize((side, side)).convert("RGB").save(out, "PNG")
    return out.getvalue()


def alone(family: Family, spec: RunSpec) -> Any:
    """The state of a row after all its steps, made without company."""
    [state] = family.prepare([spec])
    while not state.is_done:
        family.step(state, family.denoise([state])[0])
    return state


def _together(family: Family, specs: Sequence[RunSpec], joins: Sequence[int]) -> list[Any]:
    states: dict[int, Any] = {}
    turn = 0
    while len(states) < len(specs) or any(not state.is_done for state in states.values()):
        newcomers = [index for index, at in enumerate(joins) if at == turn]
        states |= zip(newcomers, family.prepare([specs[index] for index in newcomers]), strict=True) if newcomers else {}
        live = [state for state in states.values() if not state.is_done]
        for state, prediction in zip(live, family.denoise(live) if live else [], strict=True):
            family.step(state, prediction)
        turn += 1
    return [states[index] for index in range(len(specs))]


class Canary:
    """Looks at shared passes while the engine runs."""

    def __init__(self, *, every: int = CANARY_EVERY) -> None:
        self._every = every
        self._passes: dict[str, int] = {}

    def is_due(self, model: str) -> bool:
        """Whether this shared pass of a model is looked at: its first, and then each so many."""
        count = self._passes.get(model, 0)
        self._passes[model] = count + 1
        return count % self._every == 0

    def look(self, family: Family, states: Sequence[Any], predictions: Sequence[Any], *, model: str, precision: str) -> str | None:
        """Repeat one row of a pass alone, each time another one. Why batching must end, or None."""
        seen = [index for index, prediction in enumerate(predictions) if not isinstance(prediction, RunFailure)]
        if len(seen) < 2:
            return None
        index = seen[self._passes.get(model, 0) // self._every % len(seen)]
        [again] = family.denoise([states[index]])
        if not hasattr(again, "abs"):
            return None
        gap = difference(predictions[index], again)
        if gap <= bound(precision):
            return None
        return f"a row's prediction in company differs from the same made alone by {gap:.2g} (allowed: {bound(precision):.2g})"
