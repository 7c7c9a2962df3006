"""The noise schedules that a request may name. Each run gets an object of its own: they keep state between steps.

Only classes that draw their noise from the generator they are given, and keep all else in themselves, are here: with
those a picture made in company equals the picture made alone. The parity tests run every name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.engine.errors import RunFailure


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A diffusers class and what it is given beyond the model's own configuration."""

    class_name: str
    overrides: Mapping[str, Any] = field(default_factory=dict)


_TABLE: Mapping[str, Schedule] = {
    "ddim": Schedule(class_name="DDIMScheduler"),
    "ddpm": Schedule(class_name="DDPMScheduler"),
    "pndm": Schedule(class_name="PNDMScheduler", overrides={"skip_prk_steps": True}),
    "euler": Schedule(class_name="EulerDiscreteScheduler"),
    "euler_a": Schedule(class_name="EulerAncestralDiscreteScheduler"),
    "heun": Schedule(class_name="HeunDiscreteScheduler"),
    "dpmpp_2m": Schedule(class_name="DPMSolverMultistepScheduler", overrides={"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_karras": Schedule(
        class_name="DPMSolverMultistepScheduler",
        overrides={"algorithm_type": "dpmsolver++", "use_karras_sigmas": True},
    ),
    "unipc": Schedule(class_name="UniPCMultistepScheduler"),
    "deis": Schedule(class_name="DEISMultistepScheduler"),
    "lcm": Schedule(class_name="LCMScheduler"),
}

NAMES: tuple[str, ...] = tuple(_TABLE)

#: What people ask for and do not get, with the reason.
_REFUSED: Mapping[str, str] = {
    "dpmpp_sde": "it draws its noise from a source of its own, so a picture would depend on its neighbours",
    "dpmpp_2m_sde": "it draws its noise from a source of its own, so a picture would depend on its neighbours",
    "lms": "it needs scipy, which a worker does not have",
}


def name_of(class_name: str) -> str | None:
    """The name under which a model's own scheduler class is offered, or None where it is not safe in company."""
    return next((name for name, schedule in _TABLE.items() if schedule.class_name == class_name), None)


def why_not(name: str) -> str | None:
    """Why a scheduler cannot be had, in a sentence, or None when it can."""
    if name in _TABLE:
        return None
    reason = _REFUSED.get(name)
    known = ", ".join(NAMES)
    return f"The scheduler {name!r} is not offered: {reason}." if reason else f"There is no scheduler {name!r}. Known: {known}."


def own_class(name: str) -> Any:
    """The class behind a name that is offered."""
    import diffusers

    return getattr(diffusers, _TABLE[name].class_name)


def make(own: Any, name: str | None) -> Any:
    """A fresh scheduler for one run. `own` is the model's; it is never stepped itself, only read.

    Raises RunFailure for a name that is not offered.
    """
    if name is None:
        return type(own).from_config(own.config)
    reason = why_not(name)
    if reason is not None:
        raise RunFailure("bad_order", reason, blame="job")
    return own_class(name).from_config(own.config, **_TABLE[name].overrides)
