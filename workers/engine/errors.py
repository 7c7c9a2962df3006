"""What can go wrong in the engine.

::

    EngineError
    ├── ModelUnreadable     a model's files are not what they should be; the sentence is for the operator
    ├── LoraUnusable        the same of a LoRA; half a sentence that begins with "it" or "its"
    └── RunFailure          one run cannot be done; carries what its host is told
"""

from typing import Literal

Blame = Literal["job", "infra", "out_of_memory"]


def sayable(text: str) -> str:
    """``text`` as it can be told in JSON and on any terminal: names of files and keys in them may hold halves of letters."""
    return text.encode("utf-8", "backslashreplace").decode()


class EngineError(Exception):
    """Base of all errors of the engine."""


class ModelUnreadable(EngineError):
    """A model cannot be served. Its text is one sentence that says why and what to do."""


class LoraUnusable(EngineError):
    """A LoRA cannot be mixed into pictures. Its text says why and goes on after the LoRA's name and a colon."""


class RunFailure(EngineError):
    """One run ends without a picture, and whose fault it is. Never names a prompt."""

    def __init__(self, code: str, detail: str, *, blame: Blame) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.blame: Blame = blame
