"""CLIPTextEncodeBatch: the texts of several people as one conditioning, a row each."""

from typing import Any

from .arithmetic import CannotBatch, Encoded, Lengths, read_list, same_count, stack
from .loras import Uses, read_lora, read_uses


class CLIPTextEncodeBatch:
    """N texts to a conditioning of N rows: tokens, masks and pooled vectors in the order of the texts."""

    CATEGORY = "darkroom"
    FUNCTION = "encode"
    RETURN_TYPES = ("CONDITIONING",)
    DESCRIPTION = "Encodes each text by itself and stacks the rows, so that one sampler pass serves several people."

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:  # noqa: N802  ComfyUI calls it so
        """ComfyUI's description of the inputs."""
        return {
            "required": {
                "clip": ("CLIP",),
                "prompts": ("STRING", {"multiline": True, "default": '["a cat", "a dog"]', "tooltip": "A JSON list of texts."}),
                "lengths": (["tile", "pad", "refuse"], {"tooltip": "tile: SD 1.x and SDXL; pad: Qwen-Image and Z-Image; refuse: others."}),
            },
            "optional": {"loras": ("STRING", {"default": "", "tooltip": "As for DarkroomLoras, where the LoRAs change the texts too."})},
        }

    def encode(self, clip: Any, prompts: str, lengths: Lengths, loras: str = "") -> tuple[list[list[Any]]]:
        """Raises ValueError for a bad list, CannotBatch where the texts cannot share a pass."""
        if clip is None:
            raise ValueError("clip: this checkpoint has no text encoder")
        texts = read_list(prompts, str, "prompts")
        uses: list[Uses] = read_uses(loras) if loras else [[] for _ in texts]
        same_count(prompts=len(texts), loras=len(uses))
        wanted = [(text, tuple(use)) for text, use in zip(texts, uses, strict=True)]
        different = list(dict.fromkeys(wanted))  # equal texts are encoded once
        shared = None if loras else _encode_together(clip, [text for text, _ in different])
        encoded = shared or [_encode_one(_with_loras(clip, use), text) for text, use in different]
        known = dict(zip(different, encoded, strict=True))
        rows, extras = stack([known[one] for one in wanted], lengths)
        return ([[rows, extras]],)


def _with_loras(clip: Any, uses: tuple[tuple[str, float], ...]) -> Any:
    if not uses:
        return clip
    import comfy.sd

    for file, strength in uses:
        _, clip = comfy.sd.load_lora_for_models(None, clip, read_lora(file), 0.0, strength)
    return clip


def _encode_together(clip: Any, texts: list[str]) -> list[Encoded] | None:
    """SD 1.x's texts in one forward pass, or None for other encoders.

    CLIP reads a long text as sections of 77 tokens that do not see each other, so the sections of several texts may follow one
    another. The pooled vector is the first section's alone and is left out: SD 1.x's network does not read it.
    """
    tokens = [clip.tokenize(text) for text in texts]
    if len(texts) < 2 or any(not isinstance(one, dict) or set(one) != {"l"} for one in tokens):
        return None
    told = clip.encode_from_tokens_scheduled({"l": [section for one in tokens for section in one["l"]]})
    sections = [len(one["l"]) for one in tokens]
    if len(told) != 1 or told[0][0].shape[0] != 1 or told[0][0].shape[1] % sum(sections):
        return None
    rows, extras = told[0][0], {key: value for key, value in told[0][1].items() if key != "pooled_output"}
    size = rows.shape[1] // sum(sections)
    if any(value is not None for value in extras.values()):
        return None
    return [(row, {}) for row in rows.split([size * count for count in sections], dim=1)]


def _encode_one(clip: Any, text: str) -> Encoded:
    told = clip.encode_from_tokens_scheduled(clip.tokenize(text))
    if len(told) != 1:
        raise CannotBatch("a text whose conditioning changes with the steps cannot share a pass")
    return told[0][0], told[0][1]
