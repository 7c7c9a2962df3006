"""What a wish must pass before it is taken: bans, the rules about words, age, quotas."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

import discord

from bot.cogs.interactions import Reply, ToldError, user_of_person
from bot.cogs.parts import Address, button, panel, row
from bot.cogs.safety.quotas import Allowance, Quotas
from bot.cogs.safety.rules import Rule, first_broken
from bot.cogs.taking import Wish
from jobs.desk import Standing
from jobs.errors import DarkroomError, WaitingLimitReached
from jobs.job import UserId
from jobs.ports import Clock
from jobs.words import say

STRIKES = 3
"""Strikes that stand at once before nothing more is taken for a while."""

STRIKE_LIFE = 30 * 86_400.0
"""Seconds after which a strike is forgotten."""

TIME_OUT = 86_400.0
"""Seconds without requests after the last of too many strikes."""


ACCUSED_FOR = 30.0
"""Seconds for which nobody asks again who is banned or has strikes; what this process decides counts at once."""

ACCUSED_MAX = 10_000
"""With more of them everybody is looked at one by one."""


class Load(Protocol):
    """How much of the house somebody uses."""

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        ...

    @property
    def active(self) -> int:
        """Requests that are being made."""
        ...

    @property
    def seconds(self) -> float:
        """GPU seconds of the last day, beside what is expected of what waits."""
        ...


class Conduct(Protocol):
    """Strikes, bans and use (:class:`database.conduct_store.SqlConductStore`)."""

    async def strike(self, user_id: UserId, rule: str, wish: Mapping[str, Any]) -> int:
        """Note a strike; its number."""
        ...

    async def standing(self, user_id: UserId, *, seconds: float) -> Sequence[datetime]:
        """When each strike of the last ``seconds`` was given, newest first."""
        ...

    async def get_strike(self, seq: int) -> Mapping[str, Any] | None:
        """One strike, or None."""
        ...

    async def settle_strike(self, seq: int, *, before: Sequence[str], after: str) -> bool:
        """Move a strike on; False when it was not in one of ``before`` any more."""
        ...

    async def ban(self, user_id: UserId, *, by: str, reason: str, seconds: float | None) -> None:
        """Nothing is taken from this person for so long."""
        ...

    async def unban(self, user_id: UserId) -> bool:
        """Lift it; False when there was none."""
        ...

    async def ban_of(self, user_id: UserId) -> Mapping[str, Any] | None:
        """The ban that holds now, or None."""
        ...

    async def accused(self, *, seconds: float, limit: int) -> Collection[UserId]:
        """Whoever has a ban, or had a strike in the last ``seconds``; ``limit`` of them at most."""
        ...

    async def note(self, actor: str, action: str, subject: str, **detail: Any) -> None:
        """A line of the audit log."""
        ...

    async def log(self, *, limit: int) -> Sequence[Mapping[str, Any]]:
        """The newest lines of the audit log first."""
        ...

    async def load(self, user_id: UserId) -> Load:
        """How much of the house this person uses."""
        ...


class Blocked(ToldError):
    """A rule does not allow the words. Its answer says which rule, never which words, and offers an appeal."""

    def __init__(self, rule: Rule, strike: int | None) -> None:
        super().__init__("blocked")
        self.rule = rule
        self.number = strike

    def reply(self, locale: str | None) -> Reply:
        """The reason, and the button that asks a human."""
        words = discord.ui.TextDisplay(f"{say('safety.blocked', locale)}\n{self.rule.reason(locale)}")
        if self.number is None:
            return Reply(card=panel(words))
        appeal = button(Address(area="appeal", subject=str(self.number), verb="ask"), "safety.appeal", locale)
        return Reply(card=panel(words, row(appeal)))


class Gates:
    """The checks, in the order of what they cost."""

    def __init__(
        self,
        *,
        conduct: Conduct,
        clock: Clock,
        rules: Sequence[Rule],
        quotas: Quotas,
        adult_models: frozenset[str],
        usual_model: Callable[[], str],
    ) -> None:
        """``usual_model``: asked each time, for it changes with the workers that are there and with reloaded flows."""
        self._conduct = conduct
        self._clock = clock
        self._rules = tuple(rules)
        self._quotas = quotas
        self._adult = adult_models
        self._usual_model = usual_model
        self._accused: set[UserId] | None = None
        """None: too many to keep, or not read yet."""
        self._accused_until = float("-inf")
        self._decisions = 0
        self._reading = asyncio.Lock()

    def use(self, *, rules: Sequence[Rule] | None = None, quotas: Quotas | None = None) -> None:
        """These hold from now on."""
        self._rules = self._rules if rules is None else tuple(rules)
        self._quotas = self._quotas if quotas is None else quotas

    def look_again(self, user_id: UserId) -> None:
        """Something was decided about this person: the next request asks the ledger."""
        self._decisions += 1
        if self._accused is not None:
            self._accused.add(user_id)

    async def check(self, wish: Wish) -> None:
        """Let it pass, or raise why not: DarkroomError."""
        user_id = user_of_person(wish.person)
        self._check_age(wish)
        await self._check_ban(user_id)
        await self._check_words(user_id, wish)
        await self._check_quota(user_id, wish)

    def is_adult(self, model: str | None) -> bool:
        """Whether what this model makes (None: the usual one) is shown in age-restricted channels only."""
        return (model or self._usual_model()) in self._adult

    def _check_age(self, wish: Wish) -> None:
        if not self.is_adult(wish.request.model):
            return
        if not is_restricted(wish.channel):
            raise DarkroomError("adults_only", model=wish.request.model or self._usual_model())

    async def _check_ban(self, user_id: UserId) -> None:
        """One reading now and then for everybody instead of two for each request: a thousand newcomers are no load."""
        if self._clock.monotonic() >= self._accused_until:
            async with self._reading:
                await self._read_accused()
        if self._accused is None or user_id in self._accused:
            await self._read_ban(user_id)

    async def _read_accused(self) -> None:
        now, decisions = self._clock.monotonic(), self._decisions
        if now < self._accused_until:  # somebody else read while we waited
            return
        found = await self._conduct.accused(seconds=STRIKE_LIFE, limit=ACCUSED_MAX)
        self._accused = set(found) if len(found) < ACCUSED_MAX else None
        # What was decided while we read may be missing: whoever comes next reads anew.
        if decisions == self._decisions:
            self._accused_until = now + ACCUSED_FOR
        else:
            self._accused = None

    async def _read_ban(self, user_id: UserId) -> None:
        ban = await self._conduct.ban_of(user_id)
        if ban is not None:
            until = ban["until"]
            when = f"<t:{int(until.timestamp())}:R>" if until else ""
            raise DarkroomError("banned_until" if until else "banned", when=when, reason=ban["reason"][:300])
        strikes = await self._conduct.standing(user_id, seconds=STRIKE_LIFE)
        if len(strikes) >= STRIKES:
            until = strikes[0] + timedelta(seconds=TIME_OUT)
            if until > self._clock.now():
                raise DarkroomError("timed_out", n=len(strikes), when=f"<t:{int(until.timestamp())}:R>")

    async def _check_words(self, user_id: UserId, wish: Wish) -> None:
        rule = first_broken(self._rules, wish.request.prompt, wish.request.negative)
        if rule is None:
            return
        asked = {"prompt": wish.request.prompt[:1500], "negative": wish.request.negative[:500]}
        number = await self._conduct.strike(user_id, rule.name, asked) if rule.strike else None
        self.look_again(user_id)
        raise Blocked(rule, number)

    async def _check_quota(self, user_id: UserId, wish: Wish) -> None:
        allowed = self.allowance(wish.person).gpu_seconds
        if allowed is not None and (await self._conduct.load(user_id)).seconds >= allowed:
            raise DarkroomError("quota_spent", minutes=round(allowed / 60, 1))

    async def check_waiting(self, wish: Wish) -> None:
        """Whether one more may wait. The desk asks again with the commit; this is for whoever would get a studio made for nothing.

        Raises WaitingLimitReached.
        """
        limit = self.allowance(wish.person).waiting
        waiting = (await self._conduct.load(user_of_person(wish.person))).waiting
        if waiting >= limit:
            raise WaitingLimitReached("waiting_limit", waiting=waiting, limit=limit)

    def standing(self, person: discord.User | discord.Member) -> Standing:
        """What their roles give them at the desk, which holds the waiting limit: there a repeated request finds its job first."""
        allowed = self.allowance(person)
        return Standing(weight=allowed.weight, waiting_limit=allowed.waiting)

    def allowance(self, person: discord.User | discord.Member) -> Allowance:
        """What this person may have."""
        roles = [role.id for role in person.roles] if isinstance(person, discord.Member) else []
        return self._quotas.of(roles)


def is_restricted(channel: object) -> bool:
    """Whether a channel is age-restricted. What cannot be told is not: a thread without its parent, a direct message."""
    known = isinstance(channel, discord.TextChannel | discord.VoiceChannel | discord.ForumChannel | discord.StageChannel)
    return (known and channel.is_nsfw()) or (isinstance(channel, discord.Thread) and channel.is_nsfw())
