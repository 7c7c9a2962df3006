"""The miniatures of other families load unchanged and run; their GGUF computes nearly the same."""

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from diffusers import DiffusionPipeline, FluxTransformer2DModel, GGUFQuantizationConfig  # noqa: E402  # only where torch is
from PIL import Image  # noqa: E402

from housemodel.miniatures import FAMILIES, miniature, write_gguf  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:UserWarning")]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_miniature_loads_unchanged_and_makes_a_picture(family: str, tmp_path: Path) -> None:
    folder = miniature(family, tmp_path)
    assert sum(file.stat().st_size for file in folder.rglob("*.safetensors")) < 6_000_000
    pipe = DiffusionPipeline.from_pretrained(folder, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    more: dict[str, Any] = {"guidance_scale": 1.0} if family == "flux-kontext" else {}
    if family == "flux-kontext":
        more |= {"image": Image.new("RGB", (32, 32)), "_auto_resize": False, "max_area": 32 * 32}
    made: Any = pipe(prompt="a red star", height=32, width=32, num_inference_steps=2, **more)
    assert made.images[0].size == (32, 32)
    assert miniature(family, tmp_path) == folder


def test_a_gguf_of_the_flux_miniature_computes_nearly_the_same(tmp_path: Path) -> None:
    folder = miniature("flux", tmp_path) / "transformer"
    file = write_gguf(folder, tmp_path / "flux.gguf")
    settings = GGUFQuantizationConfig(compute_dtype=torch.float32)
    small = FluxTransformer2DModel.from_single_file(str(file), config=str(folder), quantization_config=settings,
                                                    torch_dtype=torch.float32)  # fmt: skip
    full = FluxTransformer2DModel.from_pretrained(folder, torch_dtype=torch.float32)
    generator = torch.Generator().manual_seed(0)
    given = {
        "hidden_states": torch.randn(1, 16, 16, generator=generator),
        "encoder_hidden_states": torch.randn(1, 4, 32, generator=generator),
        "pooled_projections": torch.randn(1, 32, generator=generator),
        "timestep": torch.tensor([0.5]), "img_ids": torch.zeros(16, 3), "txt_ids": torch.zeros(4, 3),
    }  # fmt: skip
    with torch.no_grad():
        first, second = full(**given).sample, small(**given).sample
    assert float((first - second).norm() / first.norm()) < 0.05
