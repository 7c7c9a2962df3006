"""What a batch of several people's prompts is made of: rows stacked, noise drawn and scales applied item by item.

Torch alone, nothing of ComfyUI, so that it can be tested without a server. The promise everywhere: row i of a batch holds the
very numbers that a batch of one would hold for item i. Where that cannot be kept, CannotBatch says so and nothing is drawn.
"""

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch

ITEMS_MAX = 64
TILED_TOKENS_MAX = 77 * 16
"""The longest row that tiling may make: beyond it attention would cost more than the batch saves."""

Lengths = Literal["tile", "pad", "refuse"]
Encoded = tuple[torch.Tensor, dict[str, Any]]
"""A conditioning: [rows, tokens, channels] and its extras (pooled output, masks, …)."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class CannotBatch(ValueError):
    """These items cannot share a pass. The host reads this class's name and makes them one by one."""


def read_list(text: str, kind: type, what: str) -> list[Any]:
    """The 1 to 64 items of a JSON list in ``text``, each of ``kind``. Raises ValueError naming ``what``."""
    try:
        items = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{what}: not a JSON list") from error
    if not isinstance(items, list) or not 1 <= len(items) <= ITEMS_MAX:
        raise ValueError(f"{what}: a JSON list of 1 to {ITEMS_MAX} items is needed")
    if kind is float:
        items = [float(item) if isinstance(item, int) and not isinstance(item, bool) else item for item in items]
    if any(type(item) is not kind or (kind is float and not math.isfinite(item)) for item in items):
        raise ValueError(f"{what}: every item must be of type {kind.__name__}")
    return items


def read_seeds(text: str) -> list[int]:
    """Seeds from 0 to 2^63 - 1."""
    seeds = read_list(text, int, "seeds")
    if any(not 0 <= seed < 2**63 for seed in seeds):
        raise ValueError("seeds: from 0 to 2^63 - 1")
    return seeds


def read_names(text: str) -> list[str]:
    """File stems, no two alike: letters, digits, _ and -, so that no name can leave its folder."""
    names = read_list(text, str, "names")
    if len(set(names)) != len(names) or not all(_NAME.fullmatch(name) for name in names):
        raise ValueError("names: letters, digits, _ and - only, up to 64, and no name twice")
    return names


def safe_folder(name: str) -> str:
    """``name`` if it can only be a folder right here. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("subfolder: letters, digits, _ and - only")
    return name


def same_count(**counts: int) -> int:
    """The one count that all agree on. Raises CannotBatch: ComfyUI itself would cut or repeat rows in silence."""
    if len(set(counts.values())) != 1:
        told = ", ".join(f"{count} {name}" for name, count in counts.items())
        raise CannotBatch(f"the counts differ: {told}")
    return next(iter(counts.values()))


def stack(encoded: Sequence[Encoded], lengths: Lengths) -> Encoded:
    """N conditionings of one row each as one of N rows.

    ``tile`` repeats each row's tokens to the least common multiple: softmax over evenly repeated keys is unchanged, so
    cross attention (SD 1.x, SDXL) gives the same result. ``pad`` appends zeros and a mask, for networks that honour the mask
    (Qwen-Image) or fill the zeros themselves (`fill_padding`). ``refuse`` takes equal lengths only. Raises CannotBatch.
    """
    if any(row.ndim != 3 or row.shape[0] != 1 for row, _ in encoded):
        raise CannotBatch("an encoder gave something other than one row of tokens")
    if len({row.shape[2] for row, _ in encoded}) != 1:
        raise CannotBatch("the encoders' channels differ")
    sizes = [row.shape[1] for row, _ in encoded]
    target = _common_length(sizes, lengths)
    rows = torch.cat([_stretched(row, target, lengths) for row, _ in encoded])
    masks = _masks(encoded, target, lengths, needed=lengths == "pad" and len(set(sizes)) > 1)
    extras = _stacked_extras([{key: value for key, value in extra.items() if key != "attention_mask"} for _, extra in encoded])
    return rows, extras if masks is None else {**extras, "attention_mask": masks}


def _common_length(sizes: Sequence[int], lengths: Lengths) -> int:
    if len(set(sizes)) == 1:
        return sizes[0]
    if lengths == "refuse":
        raise CannotBatch(f"texts of different lengths ({min(sizes)} to {max(sizes)} tokens) cannot share a pass of this model")
    target = math.lcm(*sizes) if lengths == "tile" else max(sizes)
    if lengths == "tile" and target > TILED_TOKENS_MAX:
        raise CannotBatch(f"texts of {min(sizes)} to {max(sizes)} tokens would have to be repeated to {target}")
    return target


def _stretched(row: torch.Tensor, target: int, lengths: Lengths) -> torch.Tensor:
    """[1, tokens, …] to [1, target, …]."""
    if lengths == "tile":
        return row.repeat(1, target // row.shape[1], *[1] * (row.ndim - 2))
    missing = row.new_zeros(1, target - row.shape[1], *row.shape[2:])
    return torch.cat([row, missing], dim=1)


def _masks(encoded: Sequence[Encoded], target: int, lengths: Lengths, *, needed: bool) -> torch.Tensor | None:
    """Masks of all rows; an encoder leaves an all-ones mask out, so that it is made again where others have one."""
    masks = [extra.get("attention_mask") for _, extra in encoded]
    if not needed and all(mask is None for mask in masks):
        return None
    pattern = next((mask for mask in masks if mask is not None), torch.ones(1, 1, dtype=torch.long))
    full = [
        torch.ones(1, row.shape[1], dtype=pattern.dtype, device=row.device) if mask is None else mask.reshape(1, -1)
        for mask, (row, _) in zip(masks, encoded, strict=True)
    ]
    return torch.cat([_stretched(mask, target, lengths) for mask in full])


def _stacked_extras(extras: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = extras[0]
    if any(set(extra) != set(first) for extra in extras):
        raise CannotBatch("the encoders' extras differ")
    return {key: _stacked_extra(key, [extra[key] for extra in extras]) for key in first}


def _stacked_extra(key: str, values: Sequence[Any]) -> Any:
    if all(isinstance(value, torch.Tensor) and value.ndim and value.shape[0] == 1 for value in values):
        if len({value.shape for value in values}) != 1:
            raise CannotBatch(f"{key}: the shapes differ")
        return torch.cat(list(values))
    if any(isinstance(value, torch.Tensor) for value in values) or any(value != values[0] for value in values):
        raise CannotBatch(f"{key}: differs between the texts, or has no row of its own")
    return values[0]


def fill_padding(embedded: torch.Tensor, raw: torch.Tensor, pad: torch.Tensor, bucket: int) -> torch.Tensor:
    """Z-Image's captions [N, tokens, channels] with the model's learned ``pad`` row where ``raw`` was padded with zeros.

    Alone, the model fills each caption with ``pad`` up to the next multiple of ``bucket``; it ignores masks. So items agree
    only within one bucket: otherwise all later positions shift, and CannotBatch is raised.
    """
    real = raw.abs().amax(dim=-1) > 0
    ends = [int(row.nonzero()[-1]) + 1 if bool(row.any()) else 0 for row in real]
    if len({-(-max(end, 1) // bucket) for end in ends}) != 1:
        raise CannotBatch(f"captions of {min(ends)} to {max(ends)} tokens lie in different blocks of {bucket}")
    after = torch.arange(raw.shape[1], device=raw.device)[None, :] >= torch.tensor(ends, device=raw.device)[:, None]
    filler = pad.to(device=embedded.device, dtype=embedded.dtype).reshape(1, 1, -1)
    return torch.where(after[..., None], filler, embedded)


def draw_each(samples: torch.Tensor, seeds: Sequence[int], draw: Callable[[torch.Tensor, int], torch.Tensor]) -> torch.Tensor:
    """First noise [N, …]: row i is what ``draw`` gives for a batch of one with seed i. Raises CannotBatch."""
    same_count(latents=samples.shape[0], seeds=len(seeds))
    return torch.cat([draw(samples[i : i + 1], seed) for i, seed in enumerate(seeds)])


def noise_of_steps(like: torch.Tensor, seeds: Sequence[int]) -> Callable[[Any, Any], torch.Tensor]:
    """What an ancestral sampler adds at each step, [N, …]: a generator for each item.

    The seed is ComfyUI's own for a batch of one: one higher on a CPU (``default_noise_sampler``), so that the step noise
    is not the first noise again.
    """
    same_count(latents=like.shape[0], seeds=len(seeds))
    offset = 1 if like.device.type == "cpu" else 0
    generators = [torch.Generator(device=like.device).manual_seed(seed + offset) for seed in seeds]

    def noise(_sigma: Any, _sigma_next: Any) -> torch.Tensor:
        one = (1, *like.shape[1:])
        rows = [torch.randn(one, dtype=like.dtype, device=like.device, generator=generator) for generator in generators]
        return torch.cat(rows)

    return noise


def scale_each(cond: torch.Tensor, uncond: torch.Tensor, scales: Sequence[float]) -> torch.Tensor:
    """Classifier-free guidance [N, …] with a scale for each item."""
    same_count(rows=cond.shape[0], scales=len(scales))
    column = torch.tensor(scales, dtype=cond.dtype, device=cond.device).reshape(-1, *[1] * (cond.ndim - 1))
    return uncond + (cond - uncond) * column


def low_rank_each(hidden: torch.Tensor, parts: Sequence[tuple[torch.Tensor, torch.Tensor, Sequence[float]]], items: int) -> torch.Tensor:
    """What LoRAs add to a linear layer's output: [rows, …, in] to [rows, …, out].

    Each part is (down [rank, in], up [out, rank], a strength for each item); rows are the items, once or (for guidance) several
    times over in the same order. Items of strength 0 are not computed.
    """
    out = hidden.new_zeros(*hidden.shape[:-1], parts[0][1].shape[0])
    repeats = hidden.shape[0] // items
    for down, up, strengths in parts:
        rows = [row for row in range(repeats * items) if strengths[row % items]]
        if not rows:
            continue
        index = torch.tensor(rows, device=hidden.device)
        column = torch.tensor([strengths[row % items] for row in rows], dtype=hidden.dtype, device=hidden.device)
        added = torch.nn.functional.linear(torch.nn.functional.linear(hidden[index], down.to(hidden)), up.to(hidden))
        out.index_add_(0, index, added * column.reshape(-1, *[1] * (added.ndim - 1)))
    return out
