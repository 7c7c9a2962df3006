"""Where every press, choice and sent form arrives, by its ``custom_id`` alone: it works on messages of any age, after any restart."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import discord

from bot.cogs.interactions import admit, is_expected, locale_of, sentence_of, tell, user_of
from bot.cogs.parts import Address
from jobs.job import UserId
from jobs.words import say

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Press:
    """A button pressed, a select chosen, or a form sent."""

    interaction: discord.Interaction
    address: Address
    values: tuple[str, ...] = ()
    """What was chosen in a select."""
    fields: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """What a form brought; empty for presses."""
    is_form: bool = False

    @property
    def locale(self) -> str:
        """The presser's language."""
        return locale_of(self.interaction)

    @property
    def user_id(self) -> UserId:
        """Who pressed, as the ledger names people."""
        return user_of(self.interaction)

    def typed(self, name: str) -> str:
        """A field of a form as text, "" where it was left empty."""
        value = self.fields.get(name, "")
        return value if isinstance(value, str) else " ".join(value)


Handler = Callable[[Press], Awaitable[None]]


class Switchboard:
    """Handlers by area: the first word of a ``custom_id``."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def connect(self, area: str, handler: Handler) -> None:
        """Let ``handler`` have every press whose id begins with ``area``."""
        self._handlers[area] = handler

    async def route(self, interaction: discord.Interaction) -> None:
        """Handle one component or form interaction; always answers, also for ids that no version knows any more."""
        if interaction.type not in (discord.InteractionType.component, discord.InteractionType.modal_submit):
            return
        if not await admit(interaction):
            return
        press = press_of(interaction)
        handler = self._handlers.get(press.address.area) if press else None
        if press is None or handler is None:
            await tell(interaction, say("limit.expired_button", locale_of(interaction)))
            return
        try:
            await handler(press)
        except Exception as error:  # noqa: BLE001  the boundary of one press; nobody above answers the person
            if not is_expected(error):
                _log.exception("a press failed: %s", press.address)
            await tell(interaction, sentence_of(error, press.locale))


def press_of(interaction: discord.Interaction) -> Press | None:
    """The press of an interaction, None when its id is not ours."""
    data: Mapping[str, Any] = interaction.data or {}
    address = Address.parse(str(data.get("custom_id", "")))
    if address is None:
        return None
    is_form = interaction.type is discord.InteractionType.modal_submit
    return Press(
        interaction=interaction,
        address=address,
        values=tuple(str(value) for value in data.get("values", ())),
        fields=_fields(data.get("components", ())) if is_form else {},
        is_form=is_form,
    )


def _fields(parts: Any) -> dict[str, str | tuple[str, ...]]:
    found: dict[str, str | tuple[str, ...]] = {}
    for part in parts:
        inner = part.get("component") or part
        for child in inner.get("components", ()):
            found |= _fields([child])
        if "custom_id" in inner:
            value = inner.get("values", inner.get("value"))
            found[inner["custom_id"]] = tuple(map(str, value)) if isinstance(value, list) else str(value or "")
    return found
