"""Pictures in and out of a batch, each under its own name."""

import re
from pathlib import Path
from typing import Any

from .arithmetic import read_list, read_names, safe_folder, same_count

PACK_VERSION = 1
"""Raised when a graph written for the pack must be another one. Graphs name it, so that ComfyUI itself refuses a mismatch."""
OLDEST_GRAPH = 1
"""The oldest version of graphs that this pack still serves."""

_FILE = re.compile(r"[0-9a-f]{64}\.png", re.ASCII)


class DarkroomLoad:
    """Input pictures of one batch: brought to one size as ImageScale would, cropped in the middle."""

    CATEGORY = "darkroom"
    FUNCTION = "load"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "images": ("STRING", {"default": "[]", "tooltip": "A JSON list of files, named by their SHA-256."}),
                "subfolder": ("STRING", {"default": "darkroom"}),
                "width": ("INT", {"default": 512, "min": 8, "max": 16384}),
                "height": ("INT", {"default": 512, "min": 8, "max": 16384}),
            }
        }

    def load(self, images: str, subfolder: str, width: int, height: int) -> tuple[Any]:
        """[N, height, width, 3] from 0 to 1. Raises ValueError for a name that is not a digest."""
        import comfy.utils
        import folder_paths
        import torch

        files = read_list(images, str, "images")
        if not all(_FILE.fullmatch(name) for name in files):
            raise ValueError("images: files are named by their SHA-256")
        folder = Path(folder_paths.get_input_directory()) / safe_folder(subfolder)
        rows = [_read(folder / name).movedim(-1, 1) for name in files]
        scaled = [comfy.utils.common_upscale(row, width, height, "lanczos", "center") for row in rows]
        return (torch.cat(scaled).movedim(1, -1),)


def _read(file: Path) -> Any:
    """[1, height, width, 3] from 0 to 1, as LoadImage reads a picture without transparency."""
    import numpy as np
    import torch
    from PIL import Image, ImageOps

    with Image.open(file, formats=["PNG"]) as picture:
        pixels = np.array(ImageOps.exif_transpose(picture).convert("RGB")).astype(np.float32) / 255.0
    return torch.from_numpy(pixels)[None]


class DarkroomDecode:
    """VAE decoding one item at a time: its peak of memory is that of one picture, however many share the pass."""

    CATEGORY = "darkroom"
    FUNCTION = "decode"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {"required": {"samples": ("LATENT",), "vae": ("VAE",)}}

    def decode(self, samples: dict[str, Any], vae: Any) -> tuple[Any]:
        """[N, height, width, 3]. Each picture is the very one that VAEDecode gives for it alone."""
        import torch

        latents = samples["samples"]
        rows = [vae.decode(latents[index : index + 1]) for index in range(latents.shape[0])]
        pictures = torch.cat([row.reshape(-1, *row.shape[-3:]) for row in rows])
        same_count(latents=latents.shape[0], pictures=pictures.shape[0])
        return (pictures,)


class DarkroomSave:
    """One PNG for each item under the name that the host gave it, in the folder that a restart empties; no metadata."""

    CATEGORY = "darkroom"
    FUNCTION = "save"
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    DESCRIPTION = "Saves each picture of a batch under its own name, without the graph that holds everybody's prompts."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs; ``version`` bounds which graphs this pack serves."""
        return {
            "required": {
                "images": ("IMAGE",),
                "names": ("STRING", {"default": '["a", "b"]'}),
                "subfolder": ("STRING", {"default": "darkroom"}),
                "version": ("INT", {"default": PACK_VERSION, "min": OLDEST_GRAPH, "max": PACK_VERSION}),
            }
        }

    @classmethod
    def IS_CHANGED(cls, **_: Any) -> float:  # noqa: N802  ComfyUI calls it so
        """Never equal to itself: files of an earlier run may be gone, so a cached answer would name nothing."""
        return float("nan")

    def save(self, images: Any, names: str, subfolder: str, version: int) -> dict[str, Any]:
        """All or nothing: the count is checked before the first file is written."""
        import folder_paths

        stems = read_names(names)
        same_count(pictures=images.shape[0], names=len(stems))
        folder = Path(folder_paths.get_temp_directory()) / safe_folder(subfolder)
        folder.mkdir(parents=True, exist_ok=True)
        return {"ui": {"images": [_saved(image, stem, folder) for image, stem in zip(images, stems, strict=True)]}}


def _saved(image: Any, stem: str, folder: Path) -> dict[str, str]:
    from PIL import Image

    pixels = (image * 255.0).clamp(0, 255).cpu().byte().numpy()
    Image.fromarray(pixels).save(folder / f"{stem}.png", compress_level=1)
    return {"filename": f"{stem}.png", "subfolder": folder.name, "type": "temp", "item": stem}
