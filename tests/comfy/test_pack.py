"""The node pack's arithmetic on real tensors: row i of a batch is what item i would have been alone."""

import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="a host without the worker's packages has nothing to compute with")

import torch

from comfy_custom_nodes.arithmetic import (
    CannotBatch,
    draw_each,
    fill_padding,
    low_rank_each,
    noise_of_steps,
    read_list,
    read_names,
    read_seeds,
    safe_folder,
    same_count,
    scale_each,
    stack,
)
from comfy_custom_nodes.loras import read_uses
from comfy_custom_nodes.pictures import PACK_VERSION
from comfy_custom_nodes.sampling import SamplerOfItems
from comfy_custom_nodes.text import CLIPTextEncodeBatch
from flows.comfy import PACK_VERSION as VERSION_OF_FLOWS

PACK = Path(__file__).parents[2] / "comfy_custom_nodes"
CHUNK, WIDTH = 77, 32


def tokens_of(words: int) -> int:
    """Chunks of 77 for 75 words each, as CLIP reads them."""
    return CHUNK * max(1, math.ceil(words / 75))


class FakeClip:
    """Gives each text its own random embedding, in whole chunks, with a pooled vector."""

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, text: str):
        self.encoded.append(text)
        random = torch.Generator().manual_seed(hash(text) % 2**31)
        rows = torch.randn(1, tokens_of(len(text.split())), WIDTH, generator=random)
        return [[rows, {"pooled_output": torch.randn(1, 8, generator=random)}]]


class CrossAttention(torch.nn.Module):
    """How SD's network reads a text: queries of the picture over keys of the text, twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList([torch.nn.MultiheadAttention(WIDTH, 4, batch_first=True) for _ in range(2)])

    @torch.no_grad()
    def forward(self, latent, text, mask=None):
        hidden = latent
        for layer in self.layers:
            hidden = hidden + layer(hidden, text, text, key_padding_mask=None if mask is None else mask == 0)[0]
        return hidden


class JointAttention(torch.nn.Module):
    """How Z-Image reads one: caption and picture in one sequence, positions counted, captions filled to blocks by a learned row."""

    bucket = 32

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.embed = torch.nn.Linear(WIDTH, WIDTH)
        self.pad = torch.nn.Parameter(torch.randn(1, WIDTH))
        self.layer = torch.nn.MultiheadAttention(WIDTH, 4, batch_first=True)
        self.where = torch.randn(512, WIDTH)

    @torch.no_grad()
    def forward(self, latent, captions, *, filled):
        embedded = self.embed(captions)
        if filled:
            embedded = fill_padding(embedded, captions, self.pad, self.bucket)
        extra = -embedded.shape[1] % self.bucket
        embedded = torch.cat([embedded, self.pad.expand(embedded.shape[0], extra, WIDTH)], dim=1)
        whole = torch.cat([embedded, latent], dim=1)
        whole = whole + self.where[: whole.shape[1]]
        return self.layer(whole, whole, whole)[0][:, embedded.shape[1] :]


def texts_of(*words: int) -> list[str]:
    return [" ".join(f"{index}w{number}" for number in range(count)) for index, count in enumerate(words)]


def encoded(texts):
    clip = FakeClip()
    return [tuple(clip.encode_from_tokens_scheduled(text)[0]) for text in texts]


BELOW, AT, ABOVE, FAR = 3, 75, 76, 160
"""Words: within one chunk, exactly one, two, three."""


@pytest.mark.parametrize("words", [(BELOW, AT), (AT, AT, BELOW), (BELOW, ABOVE), (AT, ABOVE, FAR), (FAR, BELOW, ABOVE, AT)])
def test_tiled_texts_of_any_length_give_each_picture_as_alone(words):
    texts = texts_of(*words)
    network, alone = CrossAttention(), encoded(texts)
    latents = torch.randn(len(texts), 16, WIDTH)
    rows, extras = stack(alone, "tile")
    together = network(latents, rows)
    for index, (one, extra) in enumerate(alone):
        assert (together[index] - network(latents[index : index + 1], one)[0]).abs().max() <= 1e-5
        assert torch.equal(extras["pooled_output"][index : index + 1], extra["pooled_output"])


def test_padding_with_zeros_would_have_given_another_picture():
    texts = texts_of(BELOW, ABOVE)
    network, alone = CrossAttention(), encoded(texts)
    latents = torch.randn(2, 16, WIDTH)
    rows, _ = stack(alone, "pad")
    assert (network(latents, rows)[0] - network(latents[:1], alone[0][0])[0]).abs().max() > 1e-2


def test_padding_with_a_mask_that_is_honoured_gives_each_picture_as_alone():
    alone = [(torch.randn(1, length, WIDTH), {}) for length in (5, 9, 7)]
    network, latents = CrossAttention(), torch.randn(3, 16, WIDTH)
    rows, extras = stack(alone, "pad")
    assert extras["attention_mask"].sum(dim=1).tolist() == [5, 9, 7]
    together = network(latents, rows, extras["attention_mask"])
    for index, (one, _) in enumerate(alone):
        assert (together[index] - network(latents[index : index + 1], one)[0]).abs().max() <= 1e-5


def test_a_mask_that_an_encoder_left_out_is_made_again():
    masked = (torch.randn(1, 4, WIDTH), {"attention_mask": torch.tensor([[1, 1, 1, 0]])})
    plain = (torch.randn(1, 4, WIDTH), {})
    _, extras = stack([masked, plain], "refuse")
    assert extras["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]


@pytest.mark.parametrize("lengths", [(20, 29), (1, 32), (33, 50, 64)])
def test_captions_within_one_block_are_filled_as_alone(lengths):
    network, alone = JointAttention(), [(torch.randn(1, length, WIDTH), {}) for length in lengths]
    latents = torch.randn(len(lengths), 16, WIDTH)
    rows, _ = stack(alone, "pad")
    together = network(latents, rows, filled=True)
    for index, (one, _) in enumerate(alone):
        assert (together[index] - network(latents[index : index + 1], one, filled=False)[0]).abs().max() <= 1e-5


def test_captions_of_different_blocks_are_refused():
    rows, _ = stack([(torch.randn(1, 20, WIDTH), {}), (torch.randn(1, 40, WIDTH), {})], "pad")
    with pytest.raises(CannotBatch, match="blocks of 32"):
        JointAttention()(torch.randn(2, 16, WIDTH), rows, filled=True)


def test_lengths_that_no_tiling_can_join_cheaply_are_refused():
    with pytest.raises(CannotBatch, match="repeated"):
        stack([(torch.randn(1, CHUNK * length, WIDTH), {}) for length in (3, 7)], "tile")


@pytest.mark.parametrize(
    "encodings",
    [
        [(torch.zeros(1, 4, 8), {}), (torch.zeros(1, 4, 9), {})],
        [(torch.zeros(2, 4, 8), {}), (torch.zeros(1, 4, 8), {})],
        [(torch.zeros(1, 4, 8), {"guidance": 1.0}), (torch.zeros(1, 4, 8), {"guidance": 2.0})],
        [(torch.zeros(1, 4, 8), {"more": 1}), (torch.zeros(1, 4, 8), {})],
        [(torch.zeros(1, 4, 8), {}), (torch.zeros(1, 5, 8), {})],
        [(torch.zeros(1, 4, 8), {"p": torch.zeros(1, 2)}), (torch.zeros(1, 4, 8), {"p": torch.zeros(1, 3)})],
    ],
    ids=["channels", "rows", "values", "extras", "lengths", "shapes"],
)
def test_encodings_that_do_not_belong_together_are_refused(encodings):
    with pytest.raises(CannotBatch):
        stack(encodings, "refuse")


def test_each_row_of_noise_is_the_one_of_its_seed():
    def draw(samples, seed):
        return torch.randn(samples.shape, generator=torch.Generator().manual_seed(seed))

    samples, seeds = torch.zeros(3, 4, 8, 8), [5, 2**62, 5]
    together = draw_each(samples, seeds, draw)
    for index, seed in enumerate(seeds):
        assert torch.equal(together[index : index + 1], draw(samples[:1], seed))
    with pytest.raises(CannotBatch):
        draw_each(samples, [1, 2], draw)


def test_each_row_of_step_noise_is_its_own_seeds_whoever_else_is_there():
    like = torch.zeros(2, 4, 8, 8)
    together, alone = noise_of_steps(like, [7, 9]), noise_of_steps(like[:1], [9])
    for _ in range(3):
        assert torch.equal(together(None, None)[1:], alone(None, None))
    first = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    assert not torch.equal(noise_of_steps(like[:1], [7])(None, None), first)  # on a CPU the seed is one higher, as alone


def test_each_row_has_its_own_scale():
    cond, uncond = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    together = scale_each(cond, uncond, [1.0, 7.5])
    assert torch.allclose(together[0], cond[0], atol=1e-6)
    assert torch.allclose(together[1], uncond[1] + (cond[1] - uncond[1]) * 7.5, atol=1e-6)


@pytest.mark.parametrize("repeats", [1, 2])
def test_loras_of_each_row_give_what_patched_weights_give(repeats):
    layer = torch.nn.Linear(16, 12)
    parts = [
        (torch.randn(4, 16), torch.randn(12, 4), [0.8, 0.0, -0.5]),
        (torch.randn(2, 16), torch.randn(12, 2), [0.0, 0.0, 1.0]),
    ]
    hidden = torch.randn(3 * repeats, 5, 16)
    with torch.no_grad():
        together = layer(hidden) + low_rank_each(hidden, parts, 3)
        for row in range(3 * repeats):
            weight = layer.weight + sum(strengths[row % 3] * up @ down for down, up, strengths in parts)
            alone = torch.nn.functional.linear(hidden[row], weight, layer.bias)
            assert (together[row] - alone).abs().max() <= 1e-5


def test_equal_texts_are_encoded_once_and_every_row_is_there():
    clip = FakeClip()
    (((rows, extras),),) = CLIPTextEncodeBatch().encode(clip, json.dumps(["a cat", "a dog", "a cat"]), "tile")
    assert clip.encoded == ["a cat", "a dog"]
    assert rows.shape[0] == extras["pooled_output"].shape[0] == 3
    assert torch.equal(rows[0], rows[2])


class SectionClip(FakeClip):
    """As SD 1.x's: tokens in sections of 77, each read by itself, their results one after another."""

    def tokenize(self, text: str):
        return {"l": [[(hash((text, number)) % 1000, 1.0)] * CHUNK for number in range(tokens_of(len(text.split())) // CHUNK)]}

    def encode_from_tokens_scheduled(self, tokens):
        self.encoded.append(tokens)
        sections = [torch.randn(1, CHUNK, WIDTH, generator=torch.Generator().manual_seed(section[0][0])) for section in tokens["l"]]
        return [[torch.cat(sections, dim=1), {"pooled_output": sections[0][:, 0]}]]


def test_texts_of_any_length_are_encoded_in_one_pass_where_sections_do_not_see_each_other():
    texts = texts_of(BELOW, ABOVE, AT)
    together, alone = SectionClip(), SectionClip()
    (((rows, extras),),) = CLIPTextEncodeBatch().encode(together, json.dumps(texts), "tile")
    assert len(together.encoded) == 1
    expected, _ = stack([tuple(alone.encode_from_tokens_scheduled(alone.tokenize(text))[0]) for text in texts], "tile")
    assert torch.equal(rows, expected)
    assert not extras  # the pooled vector was the first text's alone


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "[1]", "[null]", '["a"', "[" * 100_000, json.dumps(["x"] * 65), '[["a"]]', '{"a": ["b"]}']
)
def test_a_bad_list_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match="prompts"):
        read_list(text, str, "prompts")


@pytest.mark.parametrize("text", ["[-1]", "[1.5]", "[true]", f"[{2**63}]", "[NaN]"])
def test_a_bad_seed_is_refused(text):
    with pytest.raises(ValueError, match="seeds"):
        read_seeds(text)


@pytest.mark.parametrize("name", ["../x", "a/b", "a\\b", "", "a.png", "x" * 65, "é", "a\n"])
def test_no_name_can_leave_its_folder(name):
    with pytest.raises(ValueError, match="names"):
        read_names(json.dumps([name]))
    with pytest.raises(ValueError, match="subfolder"):
        safe_folder(name)


def test_a_name_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        read_names('["a", "a"]')


@pytest.mark.parametrize("text", ["[]", '[["a"]]', '[[["a", 99]]]', '[[[1, 1.0]]]', json.dumps([[["a", 1.0]] * 9])])
def test_a_bad_list_of_loras_is_refused(text):
    with pytest.raises(ValueError, match="loras"):
        read_uses(text)


def test_counts_that_differ_are_refused_instead_of_cut_or_repeated():
    assert same_count(a=2, b=2) == 2
    with pytest.raises(CannotBatch, match="2 latents, 3 prompts"):
        same_count(latents=2, prompts=3)


def test_rows_of_the_conditioning_are_counted_before_sampling(monkeypatch):
    class Guider:
        conds = {"positive": [{"cross_attn": torch.zeros(3, 4, 8)}], "negative": [{"cross_attn": torch.zeros(2, 4, 8)}]}

    monkeypatch.setitem(sys.modules, "comfy", type(sys)("comfy"))
    monkeypatch.setitem(sys.modules, "comfy.samplers", type(sys)("comfy.samplers"))
    with pytest.raises(CannotBatch, match="3 positive"):
        SamplerOfItems("euler", [1, 2], []).sample(Guider(), None, {}, None, torch.zeros(2, 4, 8, 8))


def test_the_folder_loads_alone_by_its_path_as_comfyui_loads_it():
    spec = importlib.util.spec_from_file_location("/somewhere/custom_nodes/dark_x_room", PACK / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        assert "CLIPTextEncodeBatch" in module.NODE_CLASS_MAPPINGS
        assert set(module.NODE_CLASS_MAPPINGS) == set(module.NODE_DISPLAY_NAME_MAPPINGS)
        for node in module.NODE_CLASS_MAPPINGS.values():
            assert callable(getattr(node, node.FUNCTION))
    finally:
        for name in [name for name in sys.modules if name.startswith(spec.name)]:
            del sys.modules[name]


def test_the_pack_and_the_flows_speak_of_one_version():
    assert PACK_VERSION == VERSION_OF_FLOWS
