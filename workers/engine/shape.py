"""What a model's configuration says of its pictures."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """Sizes in pixels, read from the configuration; the loaded model is checked against it."""

    default_width: int
    default_height: int
    #: Pixels a latent cell is wide and high.
    pixels_per_cell: int
    #: Width and height must be multiples of it, so that every level of the denoiser has whole cells.
    size_multiple: int
    side_min: int
    side_max: int
    max_pixels: int
    latent_channels: int
    #: The name of the model's own noise schedule in `schedulers`, or ``ddim`` where its own is not safe in company.
    scheduler: str
