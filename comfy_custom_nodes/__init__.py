"""darkroom's nodes for ComfyUI: one sampler pass for the prompts of several people, each picture as if made alone.

Copy this folder into ComfyUI's ``custom_nodes`` and restart it; nothing needs to be installed.
"""

from .loras import DarkroomLoras
from .pictures import PACK_VERSION, DarkroomDecode, DarkroomLoad, DarkroomSave
from .sampling import DarkroomCaptions, DarkroomGuider, DarkroomNoise, DarkroomSampler
from .text import CLIPTextEncodeBatch

NODE_CLASS_MAPPINGS = {
    "CLIPTextEncodeBatch": CLIPTextEncodeBatch,
    "DarkroomCaptions": DarkroomCaptions,
    "DarkroomDecode": DarkroomDecode,
    "DarkroomGuider": DarkroomGuider,
    "DarkroomLoad": DarkroomLoad,
    "DarkroomLoras": DarkroomLoras,
    "DarkroomNoise": DarkroomNoise,
    "DarkroomSampler": DarkroomSampler,
    "DarkroomSave": DarkroomSave,
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "CLIPTextEncodeBatch": "Encode texts of several people",
    "DarkroomCaptions": "Captions of several lengths (Z-Image)",
    "DarkroomDecode": "Decode pictures one by one",
    "DarkroomGuider": "Guidance, a scale for each",
    "DarkroomLoad": "Load pictures of several people",
    "DarkroomLoras": "LoRAs, others for each",
    "DarkroomNoise": "Noise, a seed for each",
    "DarkroomSampler": "Sampler, a seed for each",
    "DarkroomSave": "Save pictures, a name for each",
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "PACK_VERSION"]
