"""LoRAs row by row: each row of a shared pass equals the model alone with peft's own LoRAs in it, for every family."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("diffusers", reason="a host without the worker's packages has no engine to test")

import torch

from housemodel.miniatures import miniature
from tests.workers.lora_files import TEXT, UNET, factors, judged, outputs, write_kohya, write_peft
from tests.workers.tiny_models import make_pipeline
from workers.engine.errors import RunFailure
from workers.engine.loras import additions
from workers.engine.loras.library import LoraLibrary
from workers.engine.loras.rows import LoraRows
from workers.engine.run import LoraUse

ALPHA = 2.0
RANKS = (4, 7)
Worn = list[tuple[int, float]]
#: What each row of the tests' passes wears: which LoRA of the two and how strongly; row 1 goes bare.
ROWS: tuple[Worn, ...] = ([(0, 0.7)], [], [(1, 1.0)], [(0, 2.0), (1, 1.5)], [(0, 0.7)])


class Wardrobe:
    """Two LoRAs over one model's parts: the first in peft's format, the second in kohya's."""

    def __init__(self, folder: Path, family: str, parts: dict[str, torch.nn.Module], targets: dict[str, tuple[str, ...]]) -> None:
        self.parts = parts
        self.made = [
            {part: factors(parts[part], targets[part], rank=rank, seed=seed) for part in targets} for seed, rank in enumerate(RANKS)
        ]
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        told = {"modelspec.architecture": family}
        write_peft(folder / "first.safetensors", self.made[0], told)
        write_kohya(folder / "second.safetensors", self.made[1], alpha=ALPHA, metadata=told)
        self.library = LoraLibrary(folder)
        self.library.look()
        assert not self.library.refused
        device = torch.device("cpu")
        self.rows = LoraRows(family=family, modules=parts, device=device, dtype=torch.float32, find=self.library.find)

    @staticmethod
    def uses(worn: Worn) -> list[LoraUse]:
        return [LoraUse(name=("first", "second")[which], weight=weight) for which, weight in worn]

    def alone(self, part: str, worn: Worn) -> torch.nn.Module:
        """The part with peft's LoRAs merged in; kohya's alpha over the rank is part of the weight."""
        if not worn:
            return self.parts[part]
        scales = (1.0, ALPHA / RANKS[1])
        return judged(self.parts[part], [(self.made[which][part], weight * scales[which]) for which, weight in worn])


def compare(wardrobe: Wardrobe, part: str, given: Callable[[slice], dict[str, Any]], *, at_least: float) -> None:
    """A shared pass against each row alone; the LoRAs must matter, so that an engine that ignored them would fail."""
    everyone = slice(0, len(ROWS))
    sets = [wardrobe.rows.resolve(wardrobe.uses(worn)) for worn in ROWS]
    bare = outputs(wardrobe.parts[part], **given(everyone))
    with wardrobe.rows.rows(sets):
        shared = outputs(wardrobe.parts[part], **given(everyone))
    for row, worn in enumerate(ROWS):
        alone = outputs(wardrobe.alone(part, worn), **given(slice(row, row + 1)))
        assert (shared[row : row + 1] - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max())
        changed = float((shared[row] - bare[row]).abs().max())
        assert changed > at_least if worn else changed == 0.0
    assert torch.equal(outputs(wardrobe.parts[part], **given(everyone)), bare), "a LoRA was left in the model"


@pytest.fixture(scope="module")
def unet_wardrobe(tmp_path_factory: pytest.TempPathFactory) -> Wardrobe:
    folder = tmp_path_factory.mktemp("sd15")
    pipe = make_pipeline(folder / "tokenizer")
    parts = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    return Wardrobe(folder / "loras", "sd15", parts, {"unet": UNET, "text_encoder": TEXT})


def sd15_rows(rows: slice) -> dict[str, Any]:
    random = torch.Generator().manual_seed(5)
    count = len(ROWS)
    given = {
        "sample": torch.randn(count, 4, 8, 8, generator=random),
        "timestep": torch.tensor([1.0, 500.0, 20.0, 900.0, 3.0]),
        "encoder_hidden_states": torch.randn(count, 12, 32, generator=random),
    }
    return {name: tensor[rows] for name, tensor in given.items()}


@pytest.mark.parametrize("bank", [0, additions.BANK_BYTES_MAX], ids=["in slices", "in banks"])
def test_rows_of_a_unet_equal_the_model_alone_with_pefts_loras(unet_wardrobe: Wardrobe, bank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additions, "BANK_BYTES_MAX", bank)
    unet_wardrobe.rows = LoraRows(
        family="sd15", modules=unet_wardrobe.parts, device=torch.device("cpu"), dtype=torch.float32, find=unet_wardrobe.library.find
    )
    compare(unet_wardrobe, "unet", sd15_rows, at_least=0.05)


def test_neighbours_that_wear_the_same_share_a_product(unet_wardrobe: Wardrobe) -> None:
    one = unet_wardrobe.rows.resolve(unet_wardrobe.uses([(1, 0.5)]))
    assert one is unet_wardrobe.rows.resolve(unet_wardrobe.uses([(1, 0.5)]))
    with unet_wardrobe.rows.rows([one] * 5):
        shared = outputs(unet_wardrobe.parts["unet"], **sd15_rows(slice(0, 5)))
    alone = outputs(unet_wardrobe.alone("unet", [(1, 0.5)]), **sd15_rows(slice(0, 5)))
    assert (shared - alone).abs().max() <= 1e-5 * alone.abs().max()


def test_text_encoders_wear_theirs(unet_wardrobe: Wardrobe) -> None:
    ids = torch.randint(0, 100, (2, 12), generator=torch.Generator().manual_seed(0))
    encoder = unet_wardrobe.parts["text_encoder"]
    worn: Worn = [(0, 1.5), (1, 0.5)]
    one = unet_wardrobe.rows.resolve(unet_wardrobe.uses(worn))
    assert one is not None
    assert one.text_key is not None
    with torch.inference_mode(), unet_wardrobe.rows.text(one):
        dressed = encoder(ids)[0]
    alone = unet_wardrobe.alone("text_encoder", worn)(ids)[0]
    assert (dressed - alone).abs().max() <= 1e-5
    assert (dressed - encoder(ids)[0]).abs().max() > 0.01


@pytest.fixture(scope="session")
def miniatures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("miniatures")


_SGM_ATTENTION = {
    "down_blocks.1.attentions.0.": "input_blocks.3.1.", "mid_block.attentions.0.": "middle_block.1.",
    "up_blocks.0.attentions.0.": "output_blocks.0.1.", "up_blocks.0.attentions.1.": "output_blocks.1.1.",
    "down_blocks.0.resnets.0.conv1": "input_blocks.1.0.in_layers.2", "up_blocks.1.resnets.1.conv2": "output_blocks.3.0.out_layers.3",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.2.0.op", "up_blocks.0.upsamplers.0.conv": "output_blocks.1.2.conv",
    "time_embedding.linear_1": "time_embed.0", "conv_in": "input_blocks.0.0",
}  # fmt: skip


def _as_sgm(layer: str) -> str:
    for ours, theirs in _SGM_ATTENTION.items():
        layer = layer.replace(ours, theirs)
    return layer


def test_an_sdxl_lora_under_the_original_programs_names(miniatures: Path, tmp_path: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(miniature("sdxl", miniatures), subfolder="unet", dtype=torch.float32)
    layers = (
        "to_q", "to_k", "down_blocks.0.resnets.0.conv1", "up_blocks.1.resnets.1.conv2", "down_blocks.0.downsamplers.0.conv",
        "up_blocks.0.upsamplers.0.conv", "time_embedding.linear_1", "conv_in",
    )  # fmt: skip
    wardrobe = Wardrobe(tmp_path, "sdxl", {"unet": unet}, {"unet": layers})
    write_kohya(tmp_path / "second.safetensors", wardrobe.made[1], alpha=ALPHA, rename=_as_sgm, metadata={"modelspec.architecture": "sdxl"})
    wardrobe.library.look()

    def given(rows: slice) -> dict[str, Any]:
        random = torch.Generator().manual_seed(5)
        count = len(ROWS)
        added = {"text_embeds": torch.randn(count, 32, generator=random)[rows], "time_ids": torch.rand(count, 6, generator=random)[rows]}
        tensors = {
            "sample": torch.randn(count, 4, 16, 16, generator=random),
            "timestep": torch.tensor([1.0, 500.0, 20.0, 900.0, 3.0]),
            "encoder_hidden_states": torch.randn(count, 7, 64, generator=random),
        }
        return {name: tensor[rows] for name, tensor in tensors.items()} | {"added_cond_kwargs": added}

    compare(wardrobe, "unet", given, at_least=0.02)


def test_rows_of_a_flux_transformer(miniatures: Path, tmp_path: Path) -> None:
    from diffusers import FluxTransformer2DModel

    model = FluxTransformer2DModel.from_pretrained(miniature("flux", miniatures), subfolder="transformer", dtype=torch.float32)
    wardrobe = Wardrobe(tmp_path, "flux", {"transformer": model}, {"transformer": ("to_q", "to_k", "to_out.0", "proj_mlp", "net.2")})

    def given(rows: slice) -> dict[str, Any]:
        random = torch.Generator().manual_seed(5)
        count = len(ROWS)
        tensors = {
            "hidden_states": torch.randn(count, 16, 16, generator=random),
            "encoder_hidden_states": torch.randn(count, 6, 32, generator=random),
            "pooled_projections": torch.randn(count, 32, generator=random),
            "timestep": torch.tensor([0.001, 0.5, 0.02, 0.9, 0.3]),
        }
        return {name: tensor[rows] for name, tensor in tensors.items()} | {"img_ids": torch.rand(16, 3), "txt_ids": torch.zeros(6, 3)}

    torch.manual_seed(0)
    ids = torch.rand(16, 3)
    compare(wardrobe, "transformer", lambda rows: given(rows) | {"img_ids": ids}, at_least=0.005)


def test_rows_of_unlike_size_of_a_z_image_transformer(miniatures: Path, tmp_path: Path) -> None:
    from diffusers import ZImageTransformer2DModel

    model = ZImageTransformer2DModel.from_pretrained(miniature("z-image", miniatures), subfolder="transformer", dtype=torch.float32)
    wardrobe = Wardrobe(tmp_path, "z_image", {"transformer": model}, {"transformer": ("to_q", "to_v", "to_out.0", "w1", "w2")})
    random = torch.Generator().manual_seed(5)
    sizes = ((16, 16), (8, 16), (16, 8), (24, 16), (16, 16))
    pictures = [torch.randn(4, 1, *size, generator=random) for size in sizes]
    captions = [torch.randn(length, 32, generator=random) for length in (3, 40, 7, 33, 5)]
    times = torch.tensor([0.001, 0.5, 0.02, 0.9, 0.3])

    def made(module: torch.nn.Module, rows: slice) -> list[torch.Tensor]:
        with torch.inference_mode():
            return list(module(pictures[rows], times[rows], captions[rows], return_dict=False)[0])

    sets = [wardrobe.rows.resolve(wardrobe.uses(worn)) for worn in ROWS]
    with wardrobe.rows.rows(sets):
        shared = made(model, slice(0, 5))
    for row, worn in enumerate(ROWS):
        [alone] = made(wardrobe.alone("transformer", worn), slice(row, row + 1))
        assert (shared[row] - alone).abs().max() <= 1e-5 * max(1.0, alone.abs().max())
        if worn:
            assert (alone - made(model, slice(row, row + 1))[0]).abs().max() > 0.01


def test_layers_in_which_z_image_mixes_its_pictures_tokens_are_refused(miniatures: Path, tmp_path: Path) -> None:
    from diffusers import ZImageTransformer2DModel

    model = ZImageTransformer2DModel.from_pretrained(miniature("z-image", miniatures), subfolder="transformer", dtype=torch.float32)
    wardrobe = Wardrobe(tmp_path, "z_image", {"transformer": model}, {"transformer": ("to_q", "cap_embedder.1")})
    with pytest.raises(RunFailure, match="do not keep their pictures apart"):
        wardrobe.rows.resolve([LoraUse(name="first")])


def test_rows_of_clips_keep_their_frames_together(tmp_path: Path) -> None:
    from diffusers import MotionAdapter, UNetMotionModel

    pipe = make_pipeline(tmp_path / "tokenizer")
    adapter = MotionAdapter(
        block_out_channels=(32, 64), motion_layers_per_block=1, motion_num_attention_heads=4, motion_norm_num_groups=8,
        motion_mid_block_layers_per_block=1,
    )  # fmt: skip
    model = UNetMotionModel.from_unet2d(pipe.unet, adapter).eval().requires_grad_(False)
    wardrobe = Wardrobe(tmp_path / "loras", "sd15", {"unet": model}, {"unet": ("to_q", "to_v", "conv1", "time_emb_proj")})

    def given(rows: slice) -> dict[str, Any]:
        random = torch.Generator().manual_seed(5)
        count = len(ROWS)
        tensors = {
            "sample": torch.randn(count, 4, 3, 8, 8, generator=random),
            "timestep": torch.tensor([1.0, 500.0, 20.0, 900.0, 3.0]),
        }
        texts = torch.randn(count, 12, 32, generator=random)[rows].repeat_interleave(3, dim=0)
        return {name: tensor[rows] for name, tensor in tensors.items()} | {"encoder_hidden_states": texts}

    compare(wardrobe, "unet", given, at_least=0.02)
