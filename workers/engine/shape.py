"""What a model's configuration says of its pictures."""

from dataclasses import dataclass

from workers.engine.run import RunKind


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
    #: The name of the model's own noise schedule in `schedulers`, or the family's plain one where its own is not safe
    #: in company; and all that a request may name.
    scheduler: str
    schedulers: tuple[str, ...] = ()
    #: The kinds of order that it takes.
    kinds: tuple[RunKind, ...] = ("text_to_image",)
    #: Frames of a clip: where a request names none, and the most. 0 where it makes no clips.
    default_frames: int = 0
    frames_max: int = 0
    #: What the family does where the operator's card is silent.
    default_steps: int = 25
    default_guidance: float = 7.5
