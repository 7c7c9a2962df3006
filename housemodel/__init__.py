"""The house model: a small text-to-image model of our own, its scenes, and a checker that reads its pictures.

Importing this package (or `housemodel.scenes`, `housemodel.checker`) needs numpy and Pillow only; torch is imported
by training, sampling and the family miniatures, when they are called.
"""

from pathlib import Path


def weights_folder() -> Path:
    """The folder of the shipped pipeline in diffusers layout, ready for `StableDiffusionPipeline.from_pretrained`."""
    return Path(__file__).resolve().parent / "weights"


def loras_folder() -> Path:
    """The folder of the shipped LoRAs, `<name>.safetensors` (peft names) and `<name>.kohya.safetensors`."""
    return Path(__file__).resolve().parent / "loras"


def motion_folder() -> Path:
    """The folder of the shipped motion adapter, ready for `MotionAdapter.from_pretrained`."""
    return Path(__file__).resolve().parent / "motion_weights"
