"""Where LoRAs touch a family: which set a row wears, and when the denoiser and the text encoders wear it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext

from workers.engine.errors import RunFailure
from workers.engine.families.base import LoraSet, RowLoras
from workers.engine.families.clip_text import Remembered
from workers.engine.families.state import Condition
from workers.engine.run import RunSpec


def set_of(loras: RowLoras | None, spec: RunSpec) -> LoraSet | None:
    """The set that a spec asks for, loaded on demand. Raises RunFailure."""
    if not spec.loras:
        return None
    if loras is None:
        raise RunFailure("bad_lora", f"The model {spec.model} takes no LoRAs on this worker.", blame="job")
    return loras.resolve(spec.loras)


def rows(loras: RowLoras | None, worn: Sequence[LoraSet | None]) -> AbstractContextManager[object]:
    """Around one forward pass of the denoiser: what each of its rows wears."""
    return nullcontext() if loras is None else loras.rows(worn)


def encode(
    loras: RowLoras | None, memory: Remembered, wanted: Sequence[tuple[LoraSet | None, Sequence[str]]]
) -> list[dict[str, Condition]]:
    """Each one's texts, all of one dress in one forward of the encoder."""
    by_dress: dict[Hashable, list[int]] = {}
    for index, (one, _) in enumerate(wanted):
        by_dress.setdefault(None if one is None else one.text_key, []).append(index)
    found: dict[Hashable, dict[str, Condition]] = {}
    for dress, members in by_dress.items():
        texts = [text for index in members for text in wanted[index][1]]
        worn = wanted[members[0]][0]
        found[dress] = memory.encode(texts, dress=dress, within=lambda worn=worn: nullcontext() if loras is None else loras.text(worn))
    return [found[None if one is None else one.text_key] for one, _ in wanted]
