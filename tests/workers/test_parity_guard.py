"""The guard must see engines that are wrong in the ways that engines have been wrong, and what then happens to their runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import torch

from tests.workers.engine_fixtures import Listener
from workers.engine import parity
from workers.engine.backend import TorchBackend
from workers.engine.catalog import ModelSource, discover
from workers.engine.families import unet
from workers.engine.loop import Engine, EngineSettings
from workers.engine.run import LoraUse, RunSpec


@pytest.fixture
def source(models_folder: Path) -> ModelSource:
    return discover(models_folder, {}).models["tiny"]


@pytest.fixture
def family(source: ModelSource) -> Any:
    return TorchBackend(device="cpu").load(source)


def shared_scheduler(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """One scheduler object for everybody, as pipelines have one."""
    own = family._own_scheduler
    monkeypatch.setattr(unet.schedulers, "make", lambda *_: own)
    monkeypatch.setattr(family._linear, "of", lambda *_: None)
    prepare = family._begin

    def begin(spec: RunSpec, *rest: Any) -> Any:
        state = prepare(spec, *rest)
        # The newest request's schedule is everybody's; who came before reads its timesteps from it, too.
        for one in (*begun, state):
            one.timesteps = own.timesteps
            one.times = [float(time) for time in own.timesteps]
        begun.append(state)
        return state

    begun: list[Any] = []
    monkeypatch.setattr(family, "_begin", begin)


def batched_noise(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise drawn for all newcomers from the first one's generator."""
    prepare = family.prepare

    def drawn(specs: Sequence[RunSpec]) -> Any:
        states = prepare(specs)
        generator = torch.Generator().manual_seed(specs[0].seed)
        noise = torch.randn((len(specs), *states[0].latents.shape[1:]), generator=generator)
        for state, own in zip(states, noise.split(1), strict=True):
            state.latents = own
        return states

    monkeypatch.setattr(family, "prepare", drawn)


def dropped_mask(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts padded to one length without telling the denoiser."""
    monkeypatch.setattr(unet, "side_by_side", lambda texts, pad=unet.side_by_side: (pad(texts)[0], None))


def wrong_time(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row's time for all, as the stock pipelines do."""
    times = family._times
    monkeypatch.setattr(family, "_times", lambda rows: times(rows)[:1].expand(len(rows)))


def shared_guidance(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first row's guidance for all."""

    def guided(states: Sequence[Any], out: torch.Tensor, own: Callable[..., Any] = family._guided) -> Any:
        first = states[0].guidance
        return own([SimpleNamespace(negative=state.negative, guidance=first) for state in states], out)

    monkeypatch.setattr(family, "_guided", guided)


def decision_for_the_batch(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache in the denoiser that decides by a mean over all rows, as FirstBlockCache does."""
    forward = family._forward
    monkeypatch.setattr(family, "_forward", lambda rows: (out := forward(rows)) * (1 + 0.1 * out.abs().mean()))


def rows_in_another_order(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours' pixels."""
    forward = family._forward
    monkeypatch.setattr(family, "_forward", lambda rows: forward(rows).flip(0) if len(rows) > 2 else forward(rows))


MUTANTS = [shared_scheduler, batched_noise, dropped_mask, wrong_time, shared_guidance, decision_for_the_batch, rows_in_another_order]


def test_the_guard_finds_nothing_wrong_with_ours(family: Any, source: ModelSource) -> None:
    assert family.alone is None
    assert parity.check(family, parity.smallest(source), precision="float32") is None


@pytest.mark.parametrize("mutate", MUTANTS, ids=lambda mutate: mutate.__name__)
def test_an_engine_that_is_wrong_is_found_out(
    family: Any, source: ModelSource, mutate: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(family, monkeypatch)
    found = parity.check(family, parity.smallest(source), precision="float32")
    assert found is not None
    assert "one at a time" in found


@pytest.mark.parametrize("mutate", [one for one in MUTANTS if one is not decision_for_the_batch], ids=lambda mutate: mutate.__name__)
def test_even_half_precision_has_no_room_for_such_an_engine(
    family: Any, source: ModelSource, mutate: Callable[[Any, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are told from the rounding of float16 but a cache's small error; caches are never used here."""
    mutate(family, monkeypatch)
    assert parity.check(family, parity.smallest(source), precision="float16") is not None


class Dressed:
    """LoRAs that scale a row's latents by their weight: enough to see whose row they fell on."""

    def __init__(self, family: Any, *, shifted: bool) -> None:
        self._family = family
        self._shifted = shifted

    def resolve(self, uses: tuple[LoraUse, ...]) -> Any:
        return SimpleNamespace(text_key=None, weight=sum(use.weight for use in uses))

    @contextmanager
    def rows(self, sets: Sequence[Any]) -> Iterator[None]:
        weights = [1.0 if one is None else 1.0 + one.weight for one in sets]
        weights = weights[1:] + weights[:1] if self._shifted else weights
        scale = torch.tensor(weights).reshape(-1, 1, 1, 1)
        hook = self._family._unet.register_forward_hook(lambda _module, _inputs, out: (out[0] * scale,))
        try:
            yield
        finally:
            hook.remove()

    @contextmanager
    def text(self, one: Any) -> Iterator[None]:
        yield


@pytest.mark.parametrize("shifted", [False, True])
def test_a_lora_on_the_wrong_row_is_found_out(family: Any, source: ModelSource, *, shifted: bool) -> None:
    family.loras = Dressed(family, shifted=shifted)
    worn = [LoraUse(name="a", weight=0.5)]
    found = parity.check(family, parity.smallest(source), precision="float32", loras=worn)
    assert (found is not None) == shifted


class Studio:
    """The real loop over one model, which `spoil` may make wrong after it was loaded and found right."""

    def __init__(self, source: ModelSource, spoil: Callable[[Any], None]) -> None:
        self.backend = TorchBackend(device="cpu", threads=1)
        load = self.backend.load

        def spoiled(source: ModelSource) -> Any:
            self.family = load(source)
            spoil(self.family)
            return self.family

        self.backend.load = spoiled
        self.engine = Engine(lambda: self.backend, lambda: {source.name: source}, EngineSettings(max_batch=4))
        self.engine.start()


def test_the_canary_ends_batching_and_no_run_is_lost_or_wrong(
    source: ModelSource, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    studio = Studio(source, lambda family: rows_in_another_order(family, monkeypatch))
    plain = replace(parity.smallest(source), steps=6)
    specs = [replace(plain, prompt=f"p{seed}", seed=seed) for seed in range(1, 5)]
    listeners = [Listener() for _ in specs]
    try:
        for spec, listener in zip(specs, listeners, strict=True):
            studio.engine.submit(spec.prompt, spec, listener)
        made = [listener.made() for listener in listeners]
        facts = studio.engine.facts
        assert facts is not None
        assert "differs from the same made alone" in facts.alone["tiny"]
        assert "BATCHING IS OFF" in caplog.text
        for spec, one in zip(specs, made, strict=True):
            again = Listener()
            studio.engine.submit("again", spec, again)
            assert again.made().pictures == one.pictures
            assert again.made().shared_with == 0
    finally:
        studio.engine.stop()


def test_a_model_that_failed_its_check_makes_its_pictures_one_after_the_other(source: ModelSource) -> None:
    def fail(family: Any) -> None:
        family.alone = "it was seen to differ"

    studio = Studio(source, fail)
    listeners = [Listener() for _ in range(3)]
    try:
        for seed, listener in enumerate(listeners):
            studio.engine.submit(str(seed), replace(parity.smallest(source), seed=seed, steps=4), listener)
        assert [listener.made().shared_with for listener in listeners] == [0, 0, 0]
        assert studio.engine.facts is not None
        assert studio.engine.facts.alone == {"tiny": "it was seen to differ"}
    finally:
        studio.engine.stop()
