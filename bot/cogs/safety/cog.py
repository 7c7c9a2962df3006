"""/quota, and appeals: a human looks at what a rule refused."""

import asyncio
import logging
from collections.abc import Callable

import discord
from discord import app_commands, ui
from discord.ext import commands

from bot.cogs.imagine.localised import localised
from bot.cogs.interactions import NETWORK_FAULTS, Reply, answer_in_time, locale_of, open_form, user_of
from bot.cogs.parts import BAD, GOOD, Address, Form, button, field, panel, row
from bot.cogs.photos.text import shown
from bot.cogs.safety.gates import STRIKE_LIFE, Conduct, Gates
from bot.cogs.switchboard import Press
from jobs.job import ACTIVE_MAX, person
from jobs.words import duration, say

_log = logging.getLogger(__name__)

SEND_TIMEOUT = 20.0


class SafetyCog(commands.Cog):
    """Answers to who asks; appeals to the moderators' channel."""

    def __init__(
        self,
        *,
        conduct: Conduct,
        gates: Gates,
        moderators: Callable[[], discord.TextChannel | None],
        may_judge: Callable[[discord.User | discord.Member], bool],
    ) -> None:
        self._conduct = conduct
        self._gates = gates
        self._moderators = moderators
        self._may_judge = may_judge

    @app_commands.command(name=localised("command.quota"), description=localised("command.quota_about"))
    @app_commands.guild_only()
    async def quota(self, interaction: discord.Interaction) -> None:
        """What is used and what is left."""

        async def work() -> Reply:
            locale = locale_of(interaction)
            allowed = self._gates.allowance(interaction.user)
            load = await self._conduct.load(user_of(interaction))
            strikes = await self._conduct.standing(user_of(interaction), seconds=STRIKE_LIFE)
            lines = [
                f"**{say('quota.title', locale)}**",
                say("quota.waiting", locale, n=load.waiting, total=allowed.waiting),
                say("quota.active", locale, n=load.active, total=ACTIVE_MAX),
                say("quota.seconds", locale, used=duration(load.seconds, locale), total=duration(allowed.gpu_seconds, locale))
                if allowed.gpu_seconds
                else say("quota.no_seconds", locale),
            ]
            if strikes:
                lines.append(say("quota.strikes", locale, n=len(strikes)))
            return Reply(card=panel(ui.TextDisplay("\n".join(lines))))

        await answer_in_time(interaction, work())

    async def on_press(self, press: Press) -> None:
        """An appeal, or its judgement."""
        if press.address.verb in ("lift", "uphold"):
            await answer_in_time(press.interaction, self._judge(press))
        elif press.is_form:
            await answer_in_time(press.interaction, self._appeal(press))
        else:
            box = field("why", "safety.why", press.locale, long=True, required=True, limit=500)
            await open_form(press.interaction, Form(press.address, say("safety.appeal", press.locale), box))

    async def _appeal(self, press: Press) -> str:
        strike = await self._conduct.get_strike(_number(press.address.subject))
        channel = self._moderators()
        if strike is None or strike["user_id"] != press.user_id:
            return say("limit.expired_button", press.locale)
        if channel is None:
            return say("safety.no_moderators", press.locale)
        if not await self._conduct.settle_strike(strike["seq"], before=("standing",), after="appealed"):
            return say("safety.appealed_before", press.locale)
        locale = str(channel.guild.preferred_locale)
        words = say("safety.appeal_card", locale, person=f"<@{person(strike['user_id'])}>", rule=shown(strike["rule"], limit=60))
        asked = f"> {shown(str(strike['wish'].get('prompt', '')), limit=900)}"
        lift, uphold = (Address(area="appeal", subject=str(strike["seq"]), verb=verb) for verb in ("lift", "uphold"))
        card = panel(
            ui.TextDisplay(words),
            ui.TextDisplay(f"{asked}\n{say('safety.says', locale, words=shown(press.typed('why'), limit=500))}"),
            row(button(lift, "safety.lift", locale, style=GOOD), button(uphold, "safety.uphold", locale, style=BAD)),
        )
        try:
            async with asyncio.timeout(SEND_TIMEOUT):
                await channel.send(view=card, nonce=f"appeal-{strike['seq']}")
        except NETWORK_FAULTS as error:
            _log.error("an appeal did not reach the moderators' channel: %s", error)
            await self._conduct.settle_strike(strike["seq"], before=("appealed",), after="standing")
            return say("safety.no_moderators", press.locale)
        return say("safety.appealed", press.locale)

    async def _judge(self, press: Press) -> str:
        if not self._may_judge(press.interaction.user):
            return say("limit.not_allowed", press.locale)
        after = "lifted" if press.address.verb == "lift" else "upheld"
        seq = _number(press.address.subject)
        if not await self._conduct.settle_strike(seq, before=("appealed", "standing"), after=after):
            return say("safety.judged_before", press.locale)
        strike = await self._conduct.get_strike(seq)
        await self._conduct.note(press.user_id, f"appeal {after}", strike["user_id"] if strike else "", strike=seq)
        return say(f"safety.{after}", press.locale)


def _number(subject: str) -> int:
    """A strike's number in a button's id; 0, which none has, for what nobody of ours wrote."""
    return int(subject) if subject.isdecimal() and len(subject) < 16 else 0
