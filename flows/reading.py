"""Reads a flow's ``flow.toml``; every fault names the file and the field."""

import tomllib
from importlib.resources.abc import Traversable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

_M = TypeVar("_M", bound=BaseModel)


class FlowError(ValueError):
    """A flow's definition is wrong; the sentence names the file and the field."""


def read_definition(kind: type[_M], folder: Traversable, **more: Any) -> _M:
    """``folder``'s flow.toml, with ``more`` beside its fields, as ``kind``. Raises FlowError."""
    place = f"flows/definitions/{folder.name}/flow.toml"
    try:
        told = tomllib.loads((folder / "flow.toml").read_text(encoding="utf-8"))
        return kind.model_validate({**told, **more})
    except FileNotFoundError as error:
        raise FlowError(f"flows/definitions/{folder.name} has no flow.toml") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise FlowError(f"{place}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from error
    except RecursionError as error:
        raise FlowError(f"{place}: its brackets are nested too deeply") from error
    except ValueError as error:  # no UTF-8, no TOML, or a number of more digits than Python reads
        raise FlowError(f"{place}: {error}") from error
