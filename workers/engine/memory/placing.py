"""Bringing a model's parts to the device, for good or for each use, as the plan says."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

import torch

from workers.engine.memory.plan import MemoryChoice

_DENOISERS = ("unet", "transformer")


def place(parts: dict[str, Any], device: torch.device, choice: MemoryChoice) -> None:
    """Put every part where the choice wants it. Replaces modules in `parts` by themselves on the device."""
    for name, part in parts.items():
        if not isinstance(part, torch.nn.Module):
            continue
        if choice.offload == "none" or (choice.offload == "parts" and name in _DENOISERS):
            parts[name] = part.to(device)
        elif name in _DENOISERS:
            _by_layers(part, device)
        else:
            visit(part, device)


def _by_layers(module: Any, device: torch.device) -> None:
    """Each layer comes before its turn and goes after it; on CUDA the next one comes while this one computes."""
    from diffusers.hooks.group_offloading import apply_group_offloading

    apply_group_offloading(
        module,
        onload_device=device,
        offload_device=torch.device("cpu"),
        offload_type="leaf_level",
        use_stream=device.type == "cuda",
    )


def visit(module: torch.nn.Module, device: torch.device) -> None:
    """Let a module come to the device for each call of it and go again: its ``forward``, ``encode`` and ``decode``.

    One call at a time: two threads that use it take turns, as it cannot be in two places.
    """
    turn = threading.RLock()
    inside = [0]

    def comes(call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def called(*args: Any, **named: Any) -> Any:
            with turn:
                inside[0] += 1
                try:
                    if inside[0] == 1:
                        module.to(device)
                    return call(*args, **named)
                finally:
                    inside[0] -= 1
                    if inside[0] == 0:
                        module.to("cpu")

        return called

    for name in ("forward", "encode", "decode"):
        call = getattr(module, name, None)
        if callable(call):
            setattr(module, name, comes(call))
