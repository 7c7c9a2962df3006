"""A ComfyUI server without a GPU, as measured on real ones, that misbehaves by name. ``nodes.json`` holds interface facts of 0.33."""

from tests.comfy_server.meaning import colour_of
from tests.comfy_server.server import FakeComfy

__all__ = ["FakeComfy", "colour_of"]
