"""Teaches the text encoder the grammar before the denoiser sees it, in a few seconds.

Eight learned queries attend over the token states: background, number of objects, and for two groups colour, shape and
place. The heads are thrown away; the encoder goes on learning with the denoiser.
"""

from collections.abc import Callable

import numpy as np
import torch
from transformers import CLIPTextModel, CLIPTokenizer

from housemodel.dataset import write_captions
from housemodel.layout import PLACES, Scene
from housemodel.palette import COLOUR_NAMES
from housemodel.parts import TEXT_WIDTH
from housemodel.shapes import SHAPE_NAMES

BATCH = 48
ANSWERS = (len(COLOUR_NAMES), 4) + (len(COLOUR_NAMES) + 1, len(SHAPE_NAMES) + 1, len(PLACES) + 1) * 2
"""How many answers each query can give; the last one of a group's three says that there is no such group."""


class Reader(torch.nn.Module):
    """The queries and heads: from token states (n, tokens, width) to one row of logits per query."""

    def __init__(self) -> None:
        super().__init__()
        self.queries = torch.nn.Parameter(torch.randn(len(ANSWERS), TEXT_WIDTH) * 0.1)
        self.attention = torch.nn.MultiheadAttention(TEXT_WIDTH, 4, batch_first=True)
        self.heads = torch.nn.ModuleList([torch.nn.Linear(TEXT_WIDTH, many) for many in ANSWERS])

    def forward(self, states: torch.Tensor) -> list[torch.Tensor]:
        """Logits (n, answers) per query."""
        found, _ = self.attention(self.queries.expand(states.shape[0], -1, -1), states, states)
        return [head(found[:, i]) for i, head in enumerate(self.heads)]


def facts(scene: Scene) -> list[int]:
    """The true answer to each query; two different objects are told in the order of their places."""
    places = list(PLACES)
    groups = scene.things[:1] if scene.alike else sorted(scene.things, key=lambda thing: places.index(thing.place))
    answers = [COLOUR_NAMES.index(scene.background), len(scene.things) - 1]
    for i in range(2):
        if i < len(groups):
            thing = groups[i]
            answers += [COLOUR_NAMES.index(thing.colour), SHAPE_NAMES.index(thing.shape), places.index(thing.place)]
        else:
            answers += [len(COLOUR_NAMES), len(SHAPE_NAMES), len(places)]
    return answers


def tokenize(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Token ids, padded to the full length as the stock pipelines do it: (n, 40)."""
    return tokenizer(captions, padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt").input_ids


def pretrain_text(
    text: CLIPTextModel, tokenizer: CLIPTokenizer, scenes: list[Scene], *, steps: int, seed: int,
    report: Callable[[str], None],
) -> float:  # fmt: skip
    """Train encoder and reader together; returns the share of right answers of the worst query at the end."""
    rng = np.random.default_rng(seed)
    reader = Reader()
    optimiser = torch.optim.AdamW([*reader.parameters(), *text.parameters()], lr=2e-3)
    worst: list[float] = []
    for step in range(1, steps + 1):
        picked = [scenes[i] for i in rng.integers(len(scenes), size=BATCH)]
        logits = reader(text(tokenize(tokenizer, write_captions(picked, rng, empty=0.0))).last_hidden_state)
        truth = torch.tensor([facts(scene) for scene in picked]).T
        losses = [torch.nn.functional.cross_entropy(said, true) for said, true in zip(logits, truth, strict=True)]
        optimiser.zero_grad()
        torch.stack(losses).sum().backward()
        optimiser.step()
        worst.append(min(float((s.argmax(1) == t).float().mean()) for s, t in zip(logits, truth, strict=True)))
        if step % 75 == 0:
            report(f"text {step}/{steps}: worst query {np.mean(worst[-10:]):.3f} right")
    return float(np.mean(worst[-10:]))
