"""What a graph would draw: read from its links, so that a test proves that picture i belongs to request i."""

import hashlib
import io
import json
from dataclasses import dataclass

from PIL import Image, PngImagePlugin


class NodeError(Exception):
    """An exception inside a node, with the name that ComfyUI would report."""

    def __init__(self, kind: str, message: str, node: str = "sampler") -> None:
        super().__init__(message)
        self.kind, self.message, self.node = kind, message, node


@dataclass(frozen=True)
class Meaning:
    """One picture of a graph."""

    prompt: str
    negative: str
    seed: int
    guidance: float
    steps: int
    image: str
    width: int
    height: int
    frames: int = 1

    @property
    def colour(self) -> tuple[int, int, int]:
        return colour_of(self.prompt, self.negative, self.seed, image=self.image)


def colour_of(prompt: str, negative: str, seed: int, *, image: str = "") -> tuple[int, int, int]:
    digest = hashlib.sha256(json.dumps([prompt, negative, seed, image]).encode()).digest()
    return digest[0], digest[1], digest[2]


class Reader:
    def __init__(self, graph: dict) -> None:
        self.graph = graph

    def node(self, link):
        return self.graph[link[0]]

    def first(self, *classes):
        return next((node for node in self.graph.values() if node["class_type"] in classes), None)

    def texts(self, link) -> list[str]:
        node = self.node(link)
        inputs = node["inputs"]
        match node["class_type"]:
            case "CLIPTextEncode":
                return [inputs["text"]]
            case "CLIPTextEncodeBatch":
                texts = json.loads(inputs["prompts"])
                if inputs["lengths"] == "refuse" and len({len(text.split()) // 60 for text in texts}) > 1:
                    raise NodeError("custom_nodes.darkroom.arithmetic.CannotBatch", "texts of different lengths", "positive")
                return texts
            case "ConditioningZeroOut":
                return [""] * len(self.texts(inputs["conditioning"]))
            case _:
                return self.texts(inputs["conditioning"])

    def size(self) -> tuple[int, int, int]:
        """(width, height, rows of the latent)."""
        empty = self.first("EmptyLatentImage", "EmptySD3LatentImage")
        if empty is not None:
            return empty["inputs"]["width"], empty["inputs"]["height"], empty["inputs"]["batch_size"]
        load = self.first("DarkroomLoad")
        scale = self.graph.get("scaled") if load is None else load
        return scale["inputs"]["width"], scale["inputs"]["height"], len(self.images())

    def images(self) -> list[str]:
        load = self.first("DarkroomLoad")
        if load is not None:
            return json.loads(load["inputs"]["images"])
        load = self.first("LoadImage")
        return [load["inputs"]["image"].rpartition("/")[2]] if load is not None else []

    def meanings(self) -> list[Meaning]:
        width, height, rows = self.size()
        images = self.images()
        if self.first("ImageUpscaleWithModel"):
            end = self.graph["pixels"]["inputs"]
            return [Meaning("", "", 0, 0, 1, image, end["width"], end["height"]) for image in images]
        single = self.first("KSampler")
        if single is not None:
            told = single["inputs"]
            prompts, negatives = self.texts(told["positive"]), self.texts(told["negative"])
            seeds, scales, steps = [told["seed"]], [told["cfg"]], told["steps"]
        else:
            guider = self.first("DarkroomGuider")["inputs"]
            prompts, negatives = self.texts(guider["positive"]), self.texts(guider["negative"])
            seeds, scales = json.loads(self.first("DarkroomNoise")["inputs"]["seeds"]), json.loads(guider["scales"])
            steps = self.first("BasicScheduler")["inputs"]["steps"]
        frames = rows if self.first("VHS_VideoCombine") else 1
        if frames == 1 and not len(prompts) == len(negatives) == len(seeds) == rows:
            raise NodeError("custom_nodes.darkroom.arithmetic.CannotBatch", "the counts differ")
        return [
            Meaning(prompt, negative, seed, scales[min(i, len(scales) - 1)], steps, images[i] if images else "", width, height, frames)
            for i, (prompt, negative, seed) in enumerate(zip(prompts, negatives, seeds, strict=True))
        ]


def picture(meaning: Meaning, *, graph: dict | None) -> bytes:
    """A PNG in the meaning's colour; with ``graph`` it carries everybody's prompts, as ComfyUI's own nodes write it."""
    out = io.BytesIO()
    size = (meaning.width, meaning.height)
    if meaning.frames > 1:
        frames = [Image.new("RGB", size, (meaning.colour[0], meaning.colour[1], 10 * i % 256)) for i in range(meaning.frames)]
        frames[0].save(out, "WEBP", save_all=True, append_images=frames[1:], duration=100, lossless=True)
        return out.getvalue()
    info = PngImagePlugin.PngInfo()
    if graph is not None:
        info.add_text("prompt", json.dumps(graph))
    Image.new("RGB", size, meaning.colour).save(out, "PNG", pnginfo=info)
    return out.getvalue()
