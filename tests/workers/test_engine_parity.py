"""A picture made in company equals the picture made alone, and alone it equals the stock pipeline's."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from workers.engine import schedulers
from workers.engine.backend import TorchBackend
from workers.engine.catalog import discover
from workers.engine.errors import RunFailure
from workers.engine.families.sd15 import Denoising, StableDiffusion15
from workers.engine.run import RunSpec

ALONE_AGAINST_STOCK = 1e-5
IN_COMPANY = 1e-5
LONG = "q w e r t y u i o p a s d f g h j k"
"""More tokens than one window of the tiny text encoder holds."""


FEW = ("ddim", "euler_a", "dpmpp_2m")
MATRIX = [("kl", scheduler) for scheduler in schedulers.NAMES] + [("tiny", scheduler) for scheduler in FEW]
both_autoencoders = pytest.mark.parametrize("name", ["kl", "tiny"])


@pytest.fixture(scope="module")
def families(models_folder: Path) -> dict[str, StableDiffusion15]:
    backend, models = TorchBackend(device="cpu"), discover(models_folder, {}).models
    return {name: cast("StableDiffusion15", backend.load(source)) for name, source in models.items()}


@pytest.fixture
def family(families: dict[str, StableDiffusion15], name: str) -> StableDiffusion15:
    return families[name]


@pytest.fixture(scope="module")
def stocks(models_folder: Path) -> dict[str, StableDiffusionPipeline]:
    pipelines = {name: StableDiffusionPipeline.from_pretrained(models_folder / name) for name in ("kl", "tiny")}
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def spec(name: str, **changes: Any) -> RunSpec:
    side = {"kl": 16, "tiny": 32}[name]
    plain = RunSpec(model=name, prompt="a red cat", negative="x", width=side, height=side, steps=4, guidance=3.0, seed=7)
    return replace(plain, **changes)


def alone(family: StableDiffusion15, wanted: RunSpec) -> Denoising:
    [state] = family.prepare([wanted])
    while not state.is_done:
        family.step(state, family.denoise([state])[0])
    return state


def together(family: StableDiffusion15, wanted: Sequence[tuple[int, RunSpec, int]]) -> list[Denoising]:
    """Make all in shared passes. Each is (the turn at which it joins, what, after how many turns it is cancelled)."""
    states: dict[int, Denoising] = {}
    turn = 0
    while turn <= max(joins for joins, _, _ in wanted) or any(not states[i].is_done for i in _live(states, wanted, turn)):
        for index, (joins, one, _) in enumerate(wanted):
            if joins == turn:
                [states[index]] = family.prepare([one])
        live = [states[index] for index in _live(states, wanted, turn)]
        for state, prediction in zip(live, family.denoise(live) if live else [], strict=True):
            family.step(state, prediction)
        turn += 1
    return [states[index] for index in range(len(wanted))]


def _live(states: dict[int, Denoising], wanted: Sequence[tuple[int, RunSpec, int]], turn: int) -> list[int]:
    return [i for i, state in states.items() if not state.is_done and turn < wanted[i][0] + wanted[i][2]]


def picture(family: StableDiffusion15, state: Denoising) -> Any:
    """One row's pixels."""
    [pixels] = family.decode([state])
    return pixels


def difference(one: Denoising, other: Denoising) -> float:
    """The largest difference of latents, as a share of the largest latent: a random model's grow beyond 1."""
    scale = max(1.0, float(other.latents.abs().max()))
    return float((one.latents - other.latents).abs().max()) / scale


@pytest.mark.parametrize(
    ("name", "scheduler", "guidance"),
    [("kl", None, 1.0), ("tiny", None, 1.0), ("tiny", None, 3.0), *((*one, 3.0) for one in MATRIX)],
)
def test_alone_it_equals_the_stock_pipeline(
    family: StableDiffusion15,
    stocks: dict[str, StableDiffusionPipeline],
    name: str,
    scheduler: str | None,
    guidance: float,
) -> None:
    stock = stocks[name]
    wanted = spec(name, scheduler=scheduler, guidance=guidance)
    own = stock.scheduler
    stock.scheduler = schedulers.make(own, scheduler)
    try:
        reference = stock(
            wanted.prompt,
            negative_prompt=wanted.negative,
            width=wanted.width,
            height=wanted.height,
            num_inference_steps=wanted.steps,
            guidance_scale=guidance,
            generator=torch.Generator().manual_seed(wanted.seed),
            output_type="latent",
        ).images
    finally:
        stock.scheduler = own
    made = alone(family, wanted)
    assert float((made.latents - reference).abs().max()) <= ALONE_AGAINST_STOCK * max(1.0, float(reference.abs().max()))


@pytest.mark.parametrize(("name", "scheduler"), MATRIX)
def test_in_company_it_equals_alone(family: StableDiffusion15, name: str, scheduler: str) -> None:
    wanted = [
        (0, spec(name, scheduler=scheduler, steps=5), 99),
        (2, spec(name, scheduler=scheduler, steps=3, prompt=LONG, guidance=6.0, seed=8), 99),
        (1, spec(name, scheduler=scheduler, steps=9, prompt="leaves early", guidance=1.0, seed=10), 1),
    ]
    made = together(family, wanted)
    for (_, one, stays), state in zip(wanted, made, strict=True):
        if stays == 99:
            reference = alone(family, one)
            assert difference(state, reference) <= IN_COMPANY
            assert np.abs(picture(family, state).astype(int) - picture(family, reference).astype(int)).max() <= 1


PATTERN = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.builds(
            dict,
            steps=st.integers(1, 6),
            guidance=st.sampled_from([0.0, 1.0, 1.5, 7.5]),
            seed=st.integers(0, 2**64 - 1),
            prompt=st.sampled_from(["", "a cat", LONG, LONG * 3]),
            scheduler=st.sampled_from([None, "euler_a", "dpmpp_2m", "unipc", "heun", "pndm", "ddpm"]),
        ),
        st.sampled_from([1, 2, 99]),
    ),
    min_size=2,
    max_size=5,
)


@both_autoencoders
@given(pattern=PATTERN)
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),  # shrinking a failure would take minutes of denoising
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_any_pattern_of_joining_and_leaving_changes_nothing(
    family: StableDiffusion15, name: str, pattern: list[tuple[int, dict[str, Any], int]]
) -> None:
    wanted = [(joins, spec(name, **changes), stays) for joins, changes, stays in pattern]
    for (_, one, _), state in zip(wanted, together(family, wanted), strict=True):
        if state.is_done:
            assert difference(state, alone(family, one)) <= IN_COMPANY


@both_autoencoders
def test_the_seed_decides_and_nothing_else_moves(family: StableDiffusion15, name: str) -> None:
    same, other = alone(family, spec(name)), alone(family, spec(name, seed=8))
    assert torch.equal(same.latents, alone(family, spec(name)).latents)
    assert float((same.latents - other.latents).abs().max()) > 0.1


@both_autoencoders
def test_each_prompt_reaches_its_own_row(family: StableDiffusion15, name: str) -> None:
    wanted = [(0, spec(name, prompt=prompt, guidance=7.5), 99) for prompt in ("a red cat", "zzzz", LONG)]
    made = together(family, wanted)
    for one in range(3):
        for other in range(one):
            assert difference(made[one], made[other]) > 100 * IN_COMPANY


@both_autoencoders
def test_sparing_memory_changes_nothing(family: StableDiffusion15, name: str) -> None:
    states = family.prepare([spec(name), spec(name, guidance=1.0, prompt=LONG)])
    for whole, spared in zip(family.denoise(states), family.denoise(states, sparing=True), strict=True):
        assert float((whole - spared).abs().max()) <= IN_COMPANY * max(1.0, float(whole.abs().max()))
    assert np.array_equal(family.decode(states)[0].shape, family.decode(states, sparing=True)[0].shape)


@both_autoencoders
def test_a_prompt_beyond_all_windows_is_cut_and_says_so(family: StableDiffusion15, name: str) -> None:
    fits, cut = family.prepare([spec(name, prompt=LONG), spec(name, prompt=LONG * 9)])
    assert fits.notes == ()
    assert cut.notes == ("prompt_cut",)


@both_autoencoders
def test_latents_that_are_not_finite_are_refused_not_shown(family: StableDiffusion15, name: str) -> None:
    [state] = family.prepare([spec(name)])
    state.latents = torch.full_like(state.latents, float("nan"))
    [sound] = family.prepare([spec(name)])
    refused, shown = family.decode([state, sound])
    assert isinstance(refused, RunFailure)
    assert (refused.code, refused.blame) == ("not_finite", "job")
    assert shown.shape == (sound.height, sound.width, 3)


@both_autoencoders
def test_a_preview_is_small_and_coloured(family: StableDiffusion15, name: str) -> None:
    pixels = family.preview(family.glimpse(alone(family, spec(name))))
    assert pixels.shape == {"kl": (8, 8, 3), "tiny": (32, 32, 3)}[name]
    assert pixels.dtype == np.uint8


@pytest.mark.parametrize("name", ["tiny"])
def test_the_measured_preview_resembles_the_decoded_picture(family: StableDiffusion15, name: str) -> None:
    state = alone(family, spec(name))
    state.guess = state.last = None
    family._preview._tiny = None
    small = family.preview(family.glimpse(state)).astype(float)
    full = picture(family, state).astype(float).reshape(8, 4, 8, 4, 3).mean(axis=(1, 3))
    assert np.abs(small - full).mean() < np.abs(full.mean() - full).mean() + 8


@pytest.mark.parametrize("name", ["kl"])
def test_a_denoiser_that_returns_another_number_of_rows_is_found_out(family: StableDiffusion15, name: str) -> None:
    states = family.prepare([spec(name, guidance=1.0), spec(name, guidance=1.0)])
    hook = family._unet.register_forward_hook(lambda _module, _inputs, out: (out[0][:1],))
    try:
        with pytest.raises(RunFailure, match="another number of rows"):
            family.denoise(states)
    finally:
        hook.remove()


@pytest.mark.parametrize(("name", "dtype"), [("kl", torch.float16), ("tiny", torch.bfloat16)])
def test_in_half_precision_company_changes_no_more_than_rounding(models_folder: Path, name: str, dtype: torch.dtype) -> None:
    from workers.engine.families import loading

    source = discover(models_folder, {}).models[name]
    family = loading.load(source, device=torch.device("cpu"), dtype=dtype)
    wanted = [
        (0, spec(name, scheduler="euler_a"), 99),
        (1, spec(name, prompt=LONG, seed=8, guidance=1.0), 99),
    ]
    for (_, one, _), state in zip(wanted, together(family, wanted), strict=True):
        assert state.latents.dtype == torch.float32
        assert difference(state, alone(family, one)) <= 4 * torch.finfo(dtype).eps
        assert picture(family, state).shape == (one.height, one.width, 3)
