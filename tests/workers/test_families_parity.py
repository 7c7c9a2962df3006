"""Every family: alone it equals the stock pipeline, in any company it equals itself alone."""

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.workers import families_folder
from tests.workers.families_folder import SIDES
from workers.engine import parity, schedulers
from workers.engine.backend import TorchBackend
from workers.engine.catalog import discover
from workers.engine.errors import RunFailure
from workers.engine.families.flux import Flux, pack
from workers.engine.run import LoraUse, RunSpec

EQUAL = 1e-5
LONG = "a red star and the blue circle on a green background and a " * 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return families_folder.build(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def families(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """All models loaded, each with two LoRAs at hand."""
    library: list[Any] = []
    backend = TorchBackend(device="cpu", find_lora=lambda name: library[0].find(name))
    catalog = discover(folder, {})
    assert not {name: why for name, why in catalog.refused.items() if name in SIDES}
    loaded = {name: backend.load(catalog.models[name]) for name in SIDES}
    library.append(families_folder.write_loras(tmp_path_factory.mktemp("loras"), loaded))
    return loaded


def kind_of(name: str) -> Any:
    return {"animatediff": "animate", "sd15-inpaint": "inpaint", "flux-kontext": "edit"}.get(name, "text_to_image")


def spec(name: str, **changes: Any) -> RunSpec:
    """A request for a model that is of its usual kind, or of the kind named."""
    side, kind = SIDES[name], changes.get("kind", kind_of(name))
    plain = RunSpec(
        model=name, kind=kind, prompt="a red star", negative="blue", width=side, height=side, steps=3, guidance=3.0, seed=7,
        frames=4 if kind == "animate" else None,
        image=families_folder.png(1, side) if kind in ("image_to_image", "inpaint", "edit", "upscale") else None,
        mask=families_folder.mask(side) if kind == "inpaint" else None,
    )  # fmt: skip
    return replace(plain, **changes)


def stock_arguments(wanted: RunSpec) -> dict[str, Any]:
    given: dict[str, Any] = {
        "prompt": wanted.prompt, "negative_prompt": wanted.negative, "width": wanted.width, "height": wanted.height,
        "num_inference_steps": wanted.steps, "guidance_scale": wanted.guidance, "output_type": "latent",
        "generator": torch.Generator().manual_seed(wanted.seed),
    }  # fmt: skip
    if wanted.model.startswith("flux"):
        del given["negative_prompt"]
    if wanted.kind == "animate":
        given["num_frames"] = wanted.frames
    if wanted.image is not None:
        given["image"] = Image.open(io.BytesIO(wanted.image))
    if wanted.mask is not None:
        given["mask_image"] = Image.open(io.BytesIO(wanted.mask))
    if wanted.kind in ("image_to_image", "inpaint"):
        given["strength"] = wanted.strength
        if wanted.kind == "image_to_image" and wanted.model in ("sd15", "sdxl"):
            del given["width"], given["height"]
    if wanted.kind == "edit":
        given |= {"max_area": wanted.width * wanted.height, "_auto_resize": False}
    return given


def stock_latents(folder: Path, wanted: RunSpec) -> torch.Tensor:
    pipeline = families_folder.stock(folder, wanted.model, wanted.kind)
    pipeline.scheduler = schedulers.make(pipeline.scheduler, wanted.scheduler)
    out = pipeline(**stock_arguments(wanted))
    return out.frames if wanted.kind == "animate" else out.images


PLAIN = [(name, {}) for name in SIDES if name != "sd15-inpaint"]
GIVEN = [
    *((name, {"kind": "image_to_image", "strength": strength, "steps": 5}) for name in ("sd15", "sdxl") for strength in (0.5, 0.8)),
    ("flux", {"kind": "image_to_image", "strength": 0.6, "steps": 5}),
    ("z-image", {"kind": "image_to_image", "strength": 0.6, "steps": 5}),
    *((name, {"kind": "inpaint", "strength": strength, "steps": 4}) for name in ("sd15", "sd15-inpaint", "sdxl") for strength in (0.75, 1.0)),
    ("sd15", {"kind": "inpaint", "strength": 0.75, "steps": 4, "scheduler": "euler_a"}),
    ("sd15", {"kind": "image_to_image", "strength": 0.5, "steps": 6, "scheduler": "dpmpp_2m"}),
    ("sd15", {"kind": "image_to_image", "strength": 0.5, "steps": 6, "scheduler": "heun"}),
    ("sdxl", {"scheduler": "euler_a", "guidance": 1.0}),
    ("animatediff", {"scheduler": "euler_a", "frames": 5}),
    ("z-image", {"guidance": 0.0}),
    ("flux", {"guidance": 0.0, "steps": 2}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes"), [*PLAIN, *GIVEN])
def test_alone_it_equals_the_stock_pipeline(folder: Path, families: dict[str, Any], name: str, changes: dict[str, Any]) -> None:
    wanted = spec(name, **changes)
    if "strength" not in changes and wanted.kind == "inpaint":
        wanted = replace(wanted, strength=1.0)
    reference = stock_latents(folder, wanted)
    made = parity.alone(families[name], wanted).latents
    made = pack(made) if isinstance(families[name], Flux) else made
    assert parity.difference(made, reference) <= EQUAL


def together(family: Any, wanted: Sequence[tuple[int, RunSpec, int]]) -> list[Any]:
    """Make all in passes of the family's own keys. Each is (the turn at which it joins, what, after how many it leaves)."""
    states: dict[int, Any] = {}
    turn = 0
    while turn <= max(joins for joins, _, _ in wanted) or _live(states, wanted, turn):
        for index, (joins, one, _) in enumerate(wanted):
            if joins == turn:
                [states[index]] = family.prepare([one])
        passes: dict[Any, list[Any]] = {}
        for index in _live(states, wanted, turn):
            passes.setdefault(family.pass_key(wanted[index][1]), []).append(states[index])
        for members in passes.values():
            for state, prediction in zip(members, family.denoise(members), strict=True):
                family.step(state, prediction)
        turn += 1
    return [states[index] for index in range(len(wanted))]


def _live(states: dict[int, Any], wanted: Sequence[tuple[int, RunSpec, int]], turn: int) -> list[int]:
    return [i for i, state in states.items() if not state.is_done and turn < wanted[i][0] + wanted[i][2]]


CHANGES = st.fixed_dictionaries(
    {
        "steps": st.integers(1, 5),
        "guidance": st.sampled_from([0.0, 1.0, 1.5, 7.5]),
        "seed": st.integers(0, 2**64 - 1),
        "prompt": st.sampled_from(["", "a red star", LONG, LONG * 4]),
        "negative": st.sampled_from(["", "blue"]),
        "shape": st.sampled_from([(1, 1), (2, 1), (1, 1)]),
        "kind": st.sampled_from([None, "image_to_image", "inpaint"]),
        "strength": st.sampled_from([0.4, 0.9]),
        "loras": st.dictionaries(st.sampled_from(["one", "two"]), st.sampled_from([0.0, 0.6, 1.0, 2.0]), max_size=2),
    }
)
PATTERN = st.lists(st.tuples(st.integers(0, 2), CHANGES, st.sampled_from([1, 99, 99])), min_size=2, max_size=5)


def drawn(name: str, kinds: Sequence[str], changes: dict[str, Any]) -> RunSpec:
    shape, kind, strength = changes["shape"], changes["kind"], changes["strength"]
    more: dict[str, Any] = {key: changes[key] for key in ("steps", "guidance", "seed", "prompt", "negative")}
    if kind in kinds:
        more |= {"kind": kind, "strength": strength}
    owner = next(owner for owner, (wearers, _, _) in families_folder.WEARERS.items() if name in wearers)
    more["loras"] = tuple(LoraUse(name=f"{owner}-{which}", weight=weight) for which, weight in changes["loras"].items())
    side = SIDES[name]
    return spec(name, width=side * shape[0], height=side * shape[1], **more)


@pytest.mark.parametrize("name", list(SIDES))
@given(pattern=PATTERN)
@settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking a failure would take minutes of denoising
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_pattern_of_joining_and_leaving_changes_nothing(
    folder: Path, families: dict[str, Any], name: str, pattern: list[tuple[int, dict[str, Any], int]]
) -> None:
    kinds = discover(folder, {}).models[name].shape.kinds
    wanted = [(joins, drawn(name, kinds, changes), stays) for joins, changes, stays in pattern]
    for (_, one, _), state in zip(wanted, together(families[name], wanted), strict=True):
        if state.is_done:
            assert parity.difference(state.latents, parity.alone(families[name], one).latents) <= EQUAL


@pytest.mark.parametrize("name", list(SIDES))
def test_each_lora_set_reaches_its_own_row(families: dict[str, Any], name: str) -> None:
    family = families[name]
    owner = next(owner for owner, (wearers, _, _) in families_folder.WEARERS.items() if name in wearers)
    worn = [(), (LoraUse(name=f"{owner}-one"),), (LoraUse(name=f"{owner}-one", weight=0.5), LoraUse(name=f"{owner}-two"))]
    specs = [spec(name, loras=loras) for loras in worn]
    made = together(family, [(0, one, 99) for one in specs])
    for index, (one, state) in enumerate(zip(specs, made, strict=True)):
        assert parity.difference(state.latents, parity.alone(family, one).latents) <= EQUAL
        for other in made[:index]:
            assert parity.difference(state.latents, other.latents) > 100 * EQUAL


def test_z_image_takes_rows_of_unlike_sizes_into_one_pass(families: dict[str, Any]) -> None:
    family = families["z-image"]
    specs = [spec("z-image", width=width, height=height, seed=width) for width, height in ((32, 32), (32, 40), (48, 24))]
    assert len({family.pass_key(one) for one in specs}) == 1
    made = together(family, [(0, one, 99) for one in specs])
    for one, state in zip(specs, made, strict=True):
        assert parity.difference(state.latents, parity.alone(family, one).latents) <= EQUAL
    shapes = [pixels.shape for pixels in family.decode(made)]
    assert shapes == [(32, 32, 3), (40, 32, 3), (24, 48, 3)]


@pytest.mark.parametrize("name", list(SIDES))
def test_what_is_decoded_together_is_what_is_decoded_alone(families: dict[str, Any], name: str) -> None:
    family = families[name]
    states = family.prepare([spec(name, seed=seed) for seed in (1, 2, 3)])
    for state, pixels in zip(states, family.decode(states), strict=True):
        [own] = family.decode([state])
        assert pixels.shape == own.shape
        assert np.abs(pixels.astype(int) - own.astype(int)).max() <= 1


@pytest.mark.parametrize("name", list(SIDES))
def test_each_prompt_reaches_its_own_row(families: dict[str, Any], name: str) -> None:
    family = families[name]
    made = together(family, [(0, spec(name, prompt=prompt), 99) for prompt in ("a red star", "the blue circle", LONG)])
    for one in range(3):
        for other in range(one):
            assert parity.difference(made[one].latents, made[other].latents) > 100 * EQUAL


@pytest.mark.parametrize("name", list(SIDES))
def test_a_preview_is_small_and_leaves_the_row_as_it_is(families: dict[str, Any], name: str) -> None:
    family = families[name]
    [state] = family.prepare([spec(name)])
    family.step(state, family.denoise([state])[0])
    before = state.latents.clone()
    pixels = family.preview(family.glimpse(state))
    assert pixels.dtype == np.uint8
    assert pixels.shape[2] == 3
    assert max(pixels.shape[:2]) <= SIDES[name]
    assert torch.equal(before, state.latents)


@pytest.mark.parametrize("name", ["sdxl", "z-image"])
def test_the_parity_check_finds_nothing_wrong_with_ours(families: dict[str, Any], name: str) -> None:
    assert parity.check(families[name], spec(name), precision="float32") is None


def test_a_kind_that_a_model_does_not_do_is_refused_for_that_run(families: dict[str, Any]) -> None:
    for name, kind in (
        ("sd15", "animate"),
        ("flux", "inpaint"),
        ("z-image", "edit"),
        ("animatediff", "text_to_image"),
        ("sd15-inpaint", "text_to_image"),
    ):
        with pytest.raises(RunFailure) as caught:
            families[name].prepare([spec(name, kind=cast("Any", kind))])
        assert caught.value.blame == "job"


def test_what_lies_outside_the_mask_stays(families: dict[str, Any]) -> None:
    """A model without mask channels keeps the latents of the given picture there, to the last bit of its arithmetic."""
    family = families["sd15"]
    state = parity.alone(family, spec("sd15", kind="inpaint", strength=1.0))
    outside = state.keep.mask == 0
    assert 0 < float(outside.float().mean()) < 1
    kept = (state.latents - state.keep.latents).abs() * outside
    assert float(kept.max()) == 0
    assert parity.difference(state.latents, state.keep.latents) > 0.1


@pytest.mark.parametrize("name", ["sd15", "sd15-inpaint", "sdxl"])
def test_pixels_outside_the_mask_are_those_of_the_given_picture(families: dict[str, Any], name: str) -> None:
    wanted = spec(name, kind="inpaint", strength=1.0)
    [pixels] = families[name].decode([parity.alone(families[name], wanted)])
    assert wanted.image is not None
    given = np.asarray(Image.open(io.BytesIO(wanted.image)))
    half = SIDES[name] // 2
    assert np.array_equal(pixels[:, half:], given[:, half:])
    assert np.abs(pixels[:, :half].astype(int) - given[:, :half].astype(int)).mean() > 10


def test_an_enlarged_picture_resembles_the_one_given(families: dict[str, Any]) -> None:
    """Lanczos first, refined by so little that the picture stays: strength 0.3 does one step of three."""
    state = parity.alone(families["sd15"], spec("sd15", kind="upscale", image=families_folder.png(1, 16), width=32, height=32))
    assert state.latents.shape[2:] == (16, 16)
    assert len(state.timesteps) == 1
