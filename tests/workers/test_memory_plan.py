"""Memory is a plan: where parts live by card and weight, what a measured curve means, and who stays loaded."""

from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import torch
from hypothesis import given
from hypothesis import strategies as st

from housemodel.miniatures import miniature, write_gguf
from tests.workers.fake_backend import FakeBackend, source
from workers.engine.backend import TorchBackend
from workers.engine.catalog import discover
from workers.engine.memory import calibrate, table
from workers.engine.memory.placing import place
from workers.engine.memory.plan import GIB, MemoryChoice, choose, rows_that_fit
from workers.engine.memory.table import Curve, Pass, Table, best_batch
from workers.engine.memory.weights import parts_bytes, stamp_of
from workers.engine.residents import Residents
from workers.engine.run import RunSpec

SD15 = {"unet": int(1.72e9), "vae": int(0.17e9), "text_encoder": int(0.25e9)}
SDXL = {"unet": int(5.14e9), "vae": int(0.17e9), "text_encoder": int(0.25e9), "text_encoder_2": int(1.39e9)}
FLUX = {"transformer": int(23.8e9), "vae": int(0.17e9), "text_encoder": int(0.25e9), "text_encoder_2": int(9.5e9)}


@pytest.mark.parametrize(
    ("parts", "gib", "offload", "sparing"),
    [
        pytest.param(SD15, 4, "none", True, id="SD 1.5 on 4 GB"),
        pytest.param(SDXL, 8, "parts", True, id="SDXL on 8 GB: the encoders and the decoder visit"),
        pytest.param(SDXL, 12, "none", False, id="SDXL on 12 GB"),
        pytest.param(FLUX, 8, "layers", True, id="Flux on 8 GB"),
        pytest.param(FLUX, 24, "layers", True, id="Flux on 24 GB"),
        pytest.param(FLUX, 40, "none", False, id="Flux on 40 GB"),
        pytest.param(SD15, None, "none", False, id="no limit known"),
    ],
)
def test_where_parts_live(parts: dict[str, int], gib: int | None, offload: str, sparing: bool) -> None:
    denoiser = "transformer" if "transformer" in parts else "unet"
    choice = choose(parts, denoiser=denoiser, memory_total=None if gib is None else gib * GIB)
    assert (choice.offload, choice.vae_sparing) == (offload, sparing)


@given(parts=st.lists(st.integers(1, 40 * GIB), min_size=1, max_size=4), total=st.integers(1 * GIB, 96 * GIB))
def test_what_is_planned_to_stay_fits_the_card(parts: list[int], total: int) -> None:
    named = dict(zip(("unet", "vae", "text_encoder", "text_encoder_2"), parts, strict=False))
    choice = choose(named, denoiser="unet", memory_total=total)
    assert choice.resident_bytes <= total
    more = choose(named, denoiser="unet", memory_total=total + 4 * GIB)
    assert ["none", "parts", "layers"].index(more.offload) <= ["none", "parts", "layers"].index(choice.offload)


def test_the_largest_batch_that_still_gains() -> None:
    flat = {1: 1.0, 2: 1.1, 3: 1.2, 4: 1.3, 5: 1.9, 6: 2.0}
    assert best_batch(flat) == 4, "the fifth costs more than .96 of its share"
    assert best_batch({1: 1.0, 2: 1.95}) == 1
    assert best_batch({1: 1.0, 2: 1.4, 3: 1.9, 4: 2.4, 5: 2.6}) == 4, "a pass may take 2.5 times as long as one alone, not more"
    assert best_batch({1: 1.0, 3: 1.1}) == 1, "sizes that were not measured are not guessed"
    assert best_batch({2: 1.0}) is None
    assert best_batch({}) is None


def test_rows_are_admitted_by_measured_memory() -> None:
    points = {1: 100, 2: 180, 4: 340}
    assert rows_that_fit(points, free=200) == 2
    assert rows_that_fit(points, free=109) == 0, "a tenth is kept to spare"
    assert rows_that_fit(points, free=400) == 4
    assert rows_that_fit(points, free=1100) == 12
    assert rows_that_fit({}, free=10**9) is None


def curve(model: str = "m", stamp: str = "s", **changes: Any) -> Curve:
    passes = tuple(Pass(rows=rows, seconds=1 + 0.1 * rows, peak_bytes=100 * rows) for rows in (1, 2, 3))
    return Curve.model_validate({"model": model, "stamp": stamp, "width": 64, "height": 64, "passes": passes} | changes)


def test_what_was_measured_is_kept_for_the_same_device_and_weights_only(tmp_path: Path) -> None:
    path = tmp_path / "models" / ".measured.json"
    table.write(path, Table(device="cuda A float16").with_curve(curve()).with_curve(curve(width=128)))
    known = table.read(path, device="cuda A float16")
    assert known.best("m", "s", width=64, height=64) == 3
    assert known.best("m", "other weights", width=64, height=64) is None
    assert known.best("m", "s", width=32, height=64) is None
    assert table.read(path, device="cuda B float16").curves == ()
    newer = known.with_curve(curve(stamp="t", passes=()))
    assert [(one.stamp, one.width) for one in newer.curves] == [("s", 128), ("t", 64)]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"device": "d", "curves": [{"model": 3}]}', '{"device": "d", "surprise": 1}', "\x00" * 99]
)
def test_a_table_that_cannot_be_read_is_measured_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    assert table.read(tmp_path / "t.json", device="d") == Table(device="d")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


def test_weights_are_weighed_before_they_are_loaded(cache: Path, tmp_path: Path) -> None:
    from diffusers import FluxTransformer2DModel

    (tmp_path / "flux").symlink_to(miniature("flux", cache))
    gguf = write_gguf(miniature("flux", cache) / "transformer", tmp_path / "small.gguf")
    found = discover(tmp_path, {}).models
    model = FluxTransformer2DModel.from_pretrained(miniature("flux", cache), subfolder="transformer")
    whole = parts_bytes(found["flux"], bytes_per_number=2)
    assert whole["transformer"] == 2 * sum(parameter.numel() for parameter in model.parameters())
    assert whole.keys() == {"transformer", "vae", "text_encoder", "text_encoder_2"}
    quantised = parts_bytes(found["small"], bytes_per_number=2)
    assert quantised["transformer"] == gguf.stat().st_size
    assert quantised["text_encoder_2"] == whole["text_encoder_2"]


def test_other_weights_have_another_stamp(models_folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(models_folder / "kl", tmp_path / "kl")
    model = discover(tmp_path, {}).models["kl"]
    before = stamp_of(model)
    assert stamp_of(model) == before
    weights = tmp_path / "kl" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes())
    assert stamp_of(model) != before


def pixels(backend: TorchBackend, folder: Path) -> Any:
    family = backend.load(discover(folder, {}).models["kl"])
    spec = RunSpec(model="kl", prompt="a cat", width=16, height=16, steps=3, guidance=3.0, seed=7)
    [state] = family.prepare([spec])
    while not state.is_done:
        family.step(state, family.denoise([state])[0])
    return family.decode([state], sparing=family.vae_sparing)[0], family


@pytest.mark.parametrize("offload", ["parts", "layers"])
def test_a_picture_is_the_same_wherever_the_parts_live(models_folder: Path, offload: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, family = pixels(TorchBackend(device="cpu"), models_folder)
    assert not family.vae_sparing
    choice = MemoryChoice(offload=offload, vae_sparing=True, resident_bytes=1)
    monkeypatch.setattr(TorchBackend, "choice", lambda self, source: choice)
    spared, family = pixels(TorchBackend(device="cpu"), models_folder)
    assert family.vae_sparing
    assert abs(plain.astype(int) - spared.astype(int)).max() <= 1


def test_visiting_parts_come_for_each_use_and_go_again() -> None:
    where: list[str] = []

    class Watched(torch.nn.Linear):
        def to(self, *args: Any, **named: Any) -> Any:  # type: ignore[override]
            where.append(str(args[0]))
            return super().to("cpu")

        def encode(self, x: torch.Tensor) -> torch.Tensor:
            return self(x)

    parts: dict[str, Any] = {"unet": Watched(2, 2), "text_encoder": Watched(2, 2), "tokenizer": "words"}
    place(parts, torch.device("cuda"), MemoryChoice(offload="parts", vae_sparing=True, resident_bytes=1))
    assert where == ["cuda"], "only the denoiser came to stay"
    parts["text_encoder"].encode(torch.zeros(1, 2))
    assert where == ["cuda", "cuda", "cpu"], "a call within a call must not send it away"
    with pytest.raises(RuntimeError):
        parts["text_encoder"](torch.zeros(1, 3))
    assert where[-1] == "cpu", "it stayed after a failure"


class Wall:
    now = 100.0


def residents(backend: FakeBackend, *, most: int = 1) -> Residents:
    return Residents(backend, most=most, wake=lambda: None, residency_seconds=20, clock=lambda: Wall.now)


def load(kept: Residents, name: str, *, wanted: set[str] | None = None, in_use: set[str] | None = None) -> bool:
    """Whether the model came."""
    kept.want(source(name), in_use=in_use or set(), wanted=wanted or set())
    loading = kept._loading
    if loading is None:
        return False
    future: Future[Any] = loading[1]
    future.result(5)
    assert kept.arrived() == (name, None)
    return True


def test_a_model_that_came_just_now_stays_while_others_wait_for_it() -> None:
    kept = residents(FakeBackend())
    assert load(kept, "a")
    Wall.now += 5
    assert not load(kept, "b", wanted={"a"}), "a was put out five seconds after it came"
    assert load(kept, "b", wanted=set()), "nobody waits for a: it may go"
    Wall.now += 21
    assert load(kept, "a", wanted={"b"}), "b has had its time"
    kept.forget_all()


def test_a_model_nobody_waits_for_leaves_before_one_that_is_wanted() -> None:
    kept = residents(FakeBackend(), most=2)
    assert load(kept, "a")
    assert load(kept, "b")
    Wall.now += 60
    assert load(kept, "c", wanted={"a"})
    assert kept.names == {"a", "c"}
    kept.forget_all()


def test_models_make_room_for_one_that_does_not_fit_beside_them() -> None:
    backend = FakeBackend()
    backend.full = {"large"}
    kept = residents(backend, most=3)
    assert load(kept, "a")
    assert load(kept, "b")
    assert not load(kept, "large", in_use={"b"})
    assert kept.names == {"b"}, "what is in use stays"
    assert load(kept, "large")
    assert kept.names == {"large"}
    kept.forget_all()


class FakeMeter:
    """Time that is counted, memory that ends."""

    def __init__(self, fits: int) -> None:
        self.fits = fits
        self.rows = 0

    def wait(self) -> None: ...
    def forget_peak(self) -> None: ...

    def peak_bytes(self) -> int | None:
        return None

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, MemoryError)

    def release_memory(self) -> None: ...


class FakeFamily:
    def __init__(self, meter: FakeMeter) -> None:
        self.meter = meter
        self.prepared: list[int] = []

    def prepare(self, specs: Any) -> list[int]:
        self.prepared.append(len(specs))
        return list(range(len(specs)))

    def denoise(self, states: Any) -> None:
        if len(states) > self.meter.fits:
            raise MemoryError


def test_measuring_ends_where_memory_does(tmp_path: Path) -> None:
    meter = FakeMeter(fits=2)
    family: Any = FakeFamily(meter)
    told: list[Pass] = []
    place_of = replace(source("m"), path=tmp_path)
    made = calibrate.measure(meter, family, place_of, width=16, height=16, rows_max=8, tell=told.append)
    assert [one.rows for one in made.passes] == [1, 2] == [one.rows for one in told]
    assert family.prepared == [1, 2, 3]


def test_calibrating_writes_what_capabilities_then_tell(models_folder: Path, tmp_path: Path) -> None:
    from workers.server import calibration
    from workers.server.worker import _best_of

    said: list[str] = []
    path = tmp_path / ".measured.json"
    backend = TorchBackend(device="cpu", threads=1, measured=path)
    assert calibration.run(backend, models=models_folder, builtin={}, measured=path, rows_max=2, announce=said.append) == 0
    assert any("at once" in line for line in said)
    kept = table.read(path, device=backend.device().label)
    assert {one.model for one in kept.curves} == {"kl", "tiny"}
    found = discover(models_folder, {}).models["kl"]
    assert _best_of(kept, found) in (1, 2)
