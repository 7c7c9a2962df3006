"""What admins can do that takes something from somebody: each says first what it would do, and does it at a press or with ``sure``.

A deed is named by its button's ``custom_id``, so that the question outlives every process; it is judged anew when it is pressed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import discord
from discord import ui

from bot.cogs.admin.part import AdminPart, AdminParts
from bot.cogs.interactions import Answer, Reply, turn_into
from bot.cogs.parts import BAD, LAMP, MAIN, PLAIN, Address, Card, button, panel, row
from bot.cogs.switchboard import Press
from jobs.errors import DarkroomError
from jobs.words import explain, say


@dataclass(frozen=True, kw_only=True)
class Deed:
    """Something to be done to ``subject``; ``n`` and ``about`` are its choice where it has one."""

    verb: str
    subject: str
    n: int = 0
    by: str = ""
    """Who does it, as the ledger names people."""


@dataclass(frozen=True, kw_only=True)
class Done:
    """The sentence for the admin, and what the audit log says of it."""

    words: str
    subject: str
    facts: Mapping[str, Any] = field(default_factory=dict)


class Doer(Protocol):
    """Knows one verb."""

    async def foretell(self, deed: Deed, locale: str) -> str:
        """The dry run: what it would do, in a sentence. Raises DarkroomError where it cannot be done."""
        ...

    async def do(self, deed: Deed, locale: str) -> Done:
        """Do it. Raises DarkroomError."""
        ...


class Deeds(AdminPart):
    """Asks, judges, does, and notes what was done."""

    def __init__(self, parts: AdminParts, doers: Mapping[str, Doer]) -> None:
        super().__init__(parts)
        self._doers = doers

    async def answer(self, interaction: discord.Interaction, deed: Deed, *, sure: bool) -> Answer:
        """Without ``sure`` the question with its button; with it, what was done. Raises DarkroomError."""
        locale = self.check(interaction)
        if sure:
            return await self._do(interaction, deed, locale)
        return Reply(card=question(await self._doers[deed.verb].foretell(deed, locale), deed, locale))

    async def on_press(self, press: Press) -> None:
        """The question becomes its answer. Judged anew: roles may have changed since."""
        await turn_into(press.interaction, self._pressed(press))

    async def _pressed(self, press: Press) -> Reply:
        address = press.address
        try:
            locale = self.check(press.interaction)
            if address.verb == "leave":
                return _said(say("admin.left", locale))
            if address.verb not in self._doers:
                return _said(say("limit.expired_button", locale))
            deed = Deed(verb=address.verb, subject=address.subject, n=address.n)
            return _said(await self._do(press.interaction, deed, locale))
        except DarkroomError as error:
            return _said(explain(error, press.locale))

    async def _do(self, interaction: discord.Interaction, deed: Deed, locale: str) -> str:
        by = f"discord:{interaction.user.id}"
        done = await self._doers[deed.verb].do(Deed(verb=deed.verb, subject=deed.subject, n=deed.n, by=by), locale)
        await self.parts.audit.note(interaction.user, deed.verb, done.subject, **done.facts)
        return done.words


def _said(words: str) -> Reply:
    return Reply(card=panel(ui.TextDisplay(words)))


STYLES = {"requeue": MAIN, "move": MAIN, "refund": MAIN, "reload": MAIN}
"""Verbs that take nothing away."""


def question(words: str, deed: Deed, locale: str) -> Card:
    """What it would do, that nothing is done yet, and the two buttons."""
    address = Address(area="admin", subject=deed.subject, verb=deed.verb, n=deed.n)
    yes = button(address, f"do.{word_of(deed.verb)}", locale, style=STYLES.get(deed.verb, BAD))
    no = button(Address(area="admin", subject="none", verb="leave"), "admin.leave", locale, style=PLAIN)
    return panel(ui.TextDisplay(words), ui.TextDisplay(f"-# {say('admin.not_yet', locale)}"), row(yes, no), colour=LAMP)


def word_of(verb: str) -> str:
    """The verb as the catalogue spells it."""
    return verb.replace("-", "_")
