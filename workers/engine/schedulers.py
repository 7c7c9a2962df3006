"""The noise schedules that a request may name. Each row gets an object of its own: they keep state between steps.

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


_DPM = "DPMSolverMultistepScheduler"
_KARRAS = {"use_karras_sigmas": True}

#: For models that predict noise or velocity on a schedule of betas.
_DIFFUSION: Mapping[str, Schedule] = {
    "ddim": Schedule(class_name="DDIMScheduler"),
    "ddpm": Schedule(class_name="DDPMScheduler"),
    "pndm": Schedule(class_name="PNDMScheduler", overrides={"skip_prk_steps": True}),
    "euler": Schedule(class_name="EulerDiscreteScheduler"),
    "euler_karras": Schedule(class_name="EulerDiscreteScheduler", overrides=_KARRAS),
    "euler_a": Schedule(class_name="EulerAncestralDiscreteScheduler"),
    "heun": Schedule(class_name="HeunDiscreteScheduler"),
    "dpm2": Schedule(class_name="KDPM2DiscreteScheduler"),
    "dpm2_a": Schedule(class_name="KDPM2AncestralDiscreteScheduler"),
    "dpmpp_2m": Schedule(class_name=_DPM, overrides={"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_karras": Schedule(class_name=_DPM, overrides={"algorithm_type": "dpmsolver++", **_KARRAS}),
    "dpmpp_2m_sde": Schedule(class_name=_DPM, overrides={"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2m_sde_karras": Schedule(class_name=_DPM, overrides={"algorithm_type": "sde-dpmsolver++", **_KARRAS}),
    "unipc": Schedule(class_name="UniPCMultistepScheduler"),
    "deis": Schedule(class_name="DEISMultistepScheduler"),
    "lcm": Schedule(class_name="LCMScheduler"),
}
#: For flow matching: Flux and Z-Image.
_FLOW: Mapping[str, Schedule] = {"euler": Schedule(class_name="FlowMatchEulerDiscreteScheduler")}
_FLOW_FAMILIES = frozenset({"flux", "z_image"})

NAMES: tuple[str, ...] = tuple(_DIFFUSION)

#: What people ask for and do not get, with the reason.
_REFUSED: Mapping[str, str] = {
    "dpmpp_sde": "it draws its noise from a source of its own, so a picture would depend on its neighbours",
    "dpmpp_3m_sde": "it draws its noise from a source of its own, so a picture would depend on its neighbours",
    "lms": "it needs scipy, which a worker does not have",
    "dpm_fast": "there is no implementation of it that keeps its state to one picture",
    "dpm_adaptive": "it chooses its own number of steps",
    "restart": "there is no implementation of it that keeps its state to one picture",
}


def names(family: str) -> tuple[str, ...]:
    """What a request for a model of this family may name."""
    return tuple(_table(family))


def plain(family: str) -> str:
    """The name that stands in for a model's own schedule where that is not safe in company."""
    return "euler" if family in _FLOW_FAMILIES else "ddim"


def name_of(class_name: str, family: str = "sd15") -> str | None:
    """The name under which a model's own scheduler class is offered, or None where it is not safe in company."""
    return next((name for name, schedule in _table(family).items() if schedule.class_name == class_name), None)


def why_not(name: str, family: str = "sd15") -> str | None:
    """Why a scheduler cannot be had, in a sentence, or None when it can."""
    table = _table(family)
    if name in table:
        return None
    reason = _REFUSED.get(name)
    if name in _DIFFUSION:
        reason = f"models of the family {family} are made for flow matching"
    known = ", ".join(table)
    return f"The scheduler {name!r} is not offered: {reason}." if reason else f"There is no scheduler {name!r}. Known: {known}."


def own_class(name: str, family: str = "sd15") -> Any:
    """The class behind a name that is offered."""
    import diffusers

    return getattr(diffusers, _table(family)[name].class_name)


def make(own: Any, name: str | None) -> Any:
    """A fresh scheduler for one row. `own` is the model's; it is never stepped itself, only read.

    Raises RunFailure for a name that is not offered.
    """
    if name is None:
        return type(own).from_config(own.config)
    family = "flux" if type(own).__name__.startswith("FlowMatch") else "sd15"
    reason = why_not(name, family)
    if reason is not None:
        raise RunFailure("bad_order", reason, blame="job")
    return own_class(name, family).from_config(own.config, **_table(family)[name].overrides)


def _table(family: str) -> Mapping[str, Schedule]:
    return _FLOW if family in _FLOW_FAMILIES else _DIFFUSION
