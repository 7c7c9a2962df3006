"""Studios: each person's private channel, found, adopted or made; never made twice, never public.

The truth is the channel itself, marked in its topic; the stored row only makes finding it quick. discord.py and Discord
have three traps here. An ``Object`` in the overwrites of a create is sent as a *member*, so that the deny for @everyone
is lost: only the Role itself is used, and the answer is checked. A create whose answer is lost may have happened: the
channels are read before another is made. And the library repeats a create after a 5xx by itself: doubles are removed.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any, Protocol
from weakref import WeakValueDictionary

import discord

from bot.cogs.interactions import NETWORK_FAULTS
from bot.cogs.sessions.errors import StudioImpossible
from bot.cogs.sessions.marks import channel_name, is_private_for, marked_person, sees, studio_name, thread_name, thread_person, topic_mark
from bot.cogs.sessions.threads import ThreadStudios
from jobs.errors import StoreUnavailable
from jobs.job import Job, UserId, person
from jobs.words import say

_log = logging.getLogger(__name__)

MAKE_TIMEOUT = 20.0
"""Seconds for one request that makes or reads channels."""

IN_CATEGORY_MAX = 50
GUILD_FULL, INVALID_BODY = 30013, 50035

_NEEDED = {"view_channel": "View Channels", "send_messages": "Send Messages", "attach_files": "Attach Files",
           "read_message_history": "Read Message History", "manage_channels": "Manage Channels"}  # fmt: skip
_WANTED = (*list(_NEEDED)[:4], "embed_links", "use_application_commands")
"""What person, bot and staff may do there, as far as the bot itself may: it cannot grant what it lacks."""


CHANNEL_SHARE = 450
"""Channels of a guild (it has 500) from which on studios are threads: the rest is for everybody else's channels."""

USED_EVERY = 3600.0
"""Seconds between two notes of somebody using their studio."""

RENAMES, RENAME_WINDOW = 2, 600.0
"""Discord takes two changes of a channel's name in ten minutes, and tells nobody beforehand."""


class SessionStore(Protocol):
    """Which channel is whose, remembered (:class:`database.session_store.SqlSessionStore`)."""

    async def get(self, user_id: UserId, guild_id: str) -> str | None:
        """The person's channel, or None."""
        ...

    async def put(self, user_id: UserId, guild_id: str, channel_id: str) -> None:
        """Remember it, in place of an earlier one."""
        ...

    async def forget(self, user_id: UserId, guild_id: str) -> None:
        """It is gone."""
        ...

    async def kind(self, user_id: UserId, guild_id: str) -> str | None:
        """Channel or thread; None when nothing is known."""
        ...

    async def set_kind(self, user_id: UserId, guild_id: str, kind: str) -> None:
        """Remember which it is."""
        ...

    async def about(self, user_id: UserId, guild_id: str) -> Mapping[str, Any] | None:
        """What the person chose for it; None when nothing is known."""
        ...

    async def change(self, user_id: UserId, guild_id: str, changes: Mapping[str, Any]) -> None:
        """Change some of it; None takes a choice back."""
        ...

    async def used(self, user_id: UserId, guild_id: str) -> None:
        """Its person came by: it rests no more."""
        ...

    async def rested(self, user_id: UserId, guild_id: str) -> None:
        """It rests from now on."""
        ...

    async def idle(self, guild_id: str, *, seconds: float) -> Sequence[tuple[UserId, str]]:
        """(person, channel) of studios awake that nobody used for so long."""
        ...


async def _nothing() -> None:
    return


class Studios:
    """The private channels of one guild. Works from the gateway's cache; only making one asks Discord anything."""

    def __init__(
        self,
        *,
        client: discord.Client,
        guild_id: int,
        store: SessionStore,
        staff_role_ids: Collection[int] = (),
        channel_share: int = CHANNEL_SHARE,
        spend: Callable[[], Awaitable[None]],
    ) -> None:
        """``spend``: waits until one more request to Discord may be made."""
        self._spend = spend
        self._client = client
        self._guild_id = guild_id
        self._store = store
        self._staff_role_ids = frozenset(staff_role_ids)
        self._known: dict[int, int] = {}
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        self._category_lock = asyncio.Lock()
        self._threads = ThreadStudios(spend=spend)
        self._share = channel_share
        self._used: dict[int, float] = {}
        self._renamed: dict[int, list[float]] = {}

    async def find(self, person_id: int) -> int | None:
        """The person's channel if there is one, without asking Discord. Raises StoreUnavailable."""
        known = self._known.get(person_id)
        if known is None:
            stored = await self._store.get(_user(person_id), str(self._guild_id))
            known = int(stored) if stored else None
        if known is not None and self._is_there(known, person_id):
            self._known[person_id] = known
            return known
        return await self._adopt(person_id)

    async def find_or_make(
        self,
        person: discord.abc.User,
        *,
        locale: str | None,
        before_making: Callable[[], Awaitable[None]] = _nothing,
        when_slow: Callable[[], Awaitable[None]] = _nothing,
    ) -> int:
        """The person's channel id. Raises StudioImpossible, StoreUnavailable, and what discord.py and ``before_making`` raise.

        ``when_slow`` is awaited before what takes its time: in a crowd studios are made a few a second.
        """
        lock = self._locks.setdefault(person.id, asyncio.Lock())
        if lock.locked():
            await when_slow()
        async with lock:  # two commands of one person make one channel
            found = await self.find(person.id)
            if found is None:
                await before_making()
                await when_slow()
            channel_id = found or await self._make(person, locale)
            await self._note_use(person.id, channel_id, is_new=found is None)
            return channel_id

    async def _note_use(self, person_id: int, channel_id: int, *, is_new: bool) -> None:
        """Once in a while: the ledger need not hear of every request. A studio that rests is brought back."""
        now = asyncio.get_running_loop().time()
        channel = self._guild().get_channel(channel_id) if self._is_known() else None
        rests = isinstance(channel, discord.TextChannel) and is_resting(channel)
        if not is_new and not rests and now - self._used.get(person_id, float("-inf")) < USED_EVERY:
            return
        if rests and isinstance(channel, discord.TextChannel):
            async with asyncio.timeout(MAKE_TIMEOUT):
                await channel.edit(category=await self._category(channel.guild, skip=0), reason="its person is back")
        self._used[person_id] = now
        await self._store.used(_user(person_id), str(self._guild_id))

    def _is_known(self) -> bool:
        try:
            self._guild()
        except StudioImpossible:
            return False
        return True

    async def about(self, person_id: int) -> Mapping[str, Any] | None:
        """What the person chose for their studio; None where there is none. Raises StoreUnavailable."""
        if await self.find(person_id) is None:
            return None
        return await self._store.about(_user(person_id), str(self._guild_id)) or {}

    async def voice(self, job: Job) -> str | None:
        """The voice that was chosen for the studio in which a job is answered; None leaves it to its person."""
        if job.place is None or job.place.guild_id != str(self._guild_id):
            return None
        chosen = (await self._store.about(job.user_id, job.place.guild_id) or {}).get("persona")
        return chosen if isinstance(chosen, str) else None

    async def change(self, person_id: int, **changes: Any) -> None:
        """Change what was chosen for it."""
        await self._store.change(_user(person_id), str(self._guild_id), changes)

    async def rest(self, person_id: int, words: str) -> bool:
        """Say so in the studio and put it aside, with everything in it. False when there is none."""
        channel_id = await self.find(person_id)
        if channel_id is None:
            return False
        guild = self._guild()
        async with asyncio.timeout(MAKE_TIMEOUT):
            await self._client.get_partial_messageable(channel_id, guild_id=guild.id).send(words)
            channel = guild.get_channel(channel_id) or guild.get_thread(channel_id)
            if isinstance(channel, discord.TextChannel):
                await channel.edit(category=await self._category(guild, skip=0, kind="resting_category"), reason="a studio rests")
            elif isinstance(channel, discord.Thread):
                await channel.edit(archived=True)
        self._used.pop(person_id, None)
        await self._store.rested(_user(person_id), str(self._guild_id))
        return True

    async def rest_idle(self, *, seconds: float, words: Callable[[UserId], str]) -> int:
        """Put aside whatever nobody used for so long; how many it were."""
        count = 0
        for user_id, _ in await self._store.idle(str(self._guild_id), seconds=seconds):
            try:
                count += await self.rest(int(person(user_id)), words(user_id))
            except (*NETWORK_FAULTS, StudioImpossible) as error:
                _log.warning("the studio of %s could not be put aside: %s", user_id, error)
        return count

    async def invite(self, owner: discord.abc.User, friend: discord.Member, *, locale: str | None) -> None:
        """Let a friend in. Raises StudioImpossible where the bot may not, and what discord.py raises."""
        channel_id = await self.find_or_make(owner, locale=locale)
        guild = self._guild()
        channel = guild.get_channel(channel_id) or guild.get_thread(channel_id)
        async with asyncio.timeout(MAKE_TIMEOUT):
            if isinstance(channel, discord.Thread):
                await self._threads.add(channel, friend.id)
            elif isinstance(channel, discord.TextChannel):
                self._check_may_invite(guild)
                await channel.set_permissions(friend, overwrite=self._granted(guild), reason="invited by its person")
        guests = (await self._store.about(_user(owner.id), str(self._guild_id)) or {}).get("guests", [])
        await self.change(owner.id, guests=sorted({*guests, str(friend.id)}))

    async def uninvite(self, owner: discord.abc.User, friend_id: int) -> None:
        """The friend sees it no more. Harmless when they never did. Raises as :meth:`invite`.

        Never the person, nor the bot, nor a role (Discord takes any id here): each would shut a studio that goes on.
        """
        channel_id, guild = await self.find(owner.id), self._guild()
        if channel_id is None:
            raise StudioImpossible("no_studio")
        if friend_id in (owner.id, guild.me.id) or guild.get_role(friend_id) is not None:
            raise StudioImpossible("invite_whom")
        channel = guild.get_channel(channel_id) or guild.get_thread(channel_id)
        async with asyncio.timeout(MAKE_TIMEOUT):
            if isinstance(channel, discord.Thread):
                await channel.remove_user(discord.Object(friend_id))
            elif isinstance(channel, discord.TextChannel):
                self._check_may_invite(guild)
                await self._client.http.delete_channel_permissions(channel_id, friend_id, reason="uninvited by its person")
        guests = (await self._store.about(_user(owner.id), str(self._guild_id)) or {}).get("guests", [])
        await self.change(owner.id, guests=[guest for guest in guests if guest != str(friend_id)])

    def _check_may_invite(self, guild: discord.Guild) -> None:
        # Overwrites come with the create; changing them later is the one thing here that needs Manage Roles.
        if not guild.me.guild_permissions.manage_roles:
            raise StudioImpossible("guests_forbidden", permissions=["Manage Roles"])

    async def rename(self, owner: discord.abc.User, name: str) -> str:
        """Give it another name; the name it has now. Raises StudioImpossible for a name of nothing, or for a third in ten minutes."""
        wanted = channel_name(name)
        channel_id = await self.find(owner.id)
        if not wanted or channel_id is None:
            raise StudioImpossible("no_studio" if wanted else "studio_name")
        now = asyncio.get_running_loop().time()
        lately = [at for at in self._renamed.get(owner.id, []) if now - at < RENAME_WINDOW]
        if len(lately) >= RENAMES:  # Discord would let the request hang for up to ten minutes, and a topic change with it
            raise StudioImpossible("studio_renames", minutes=max(1, round((RENAME_WINDOW - now + lately[0]) / 60)))
        guild = self._guild()
        channel = guild.get_channel(channel_id) or guild.get_thread(channel_id)
        self._renamed[owner.id] = [*lately, now]
        async with asyncio.timeout(MAKE_TIMEOUT):
            if isinstance(channel, discord.Thread):  # its mark stays at the end
                wanted = f"studio-{wanted}-{thread_name(owner).rpartition('-')[2]}"
                await channel.edit(name=wanted)
            elif isinstance(channel, discord.TextChannel):
                await channel.edit(name=wanted, reason="renamed by its person")
        return wanted

    async def restrict_by_age(self, channel_id: int) -> None:
        """Make it age-restricted, before something for adults comes into it. Raises StudioImpossible where that cannot be done."""
        guild = self._guild()
        channel = guild.get_channel(channel_id) or guild.get_thread(channel_id)
        if isinstance(channel, discord.TextChannel) and not channel.is_nsfw():
            async with asyncio.timeout(MAKE_TIMEOUT):
                await channel.edit(nsfw=True, reason="its person asks for what is for adults")
        elif channel is None or not channel.is_nsfw():  # a thread is as restricted as the lobby that it hangs in
            raise StudioImpossible("studio_age")

    async def channel_gone(self, channel_id: int) -> None:
        """Somebody deleted it, or a post there met nothing. The next request makes a new one."""
        for person_id in [owner for owner, channel in self._known.items() if channel == channel_id]:
            self._known.pop(person_id, None)
            try:
                await self._store.forget(_user(person_id), str(self._guild_id))
            except StoreUnavailable as error:  # harmless: the row names a channel that is not there any more
                _log.warning("a closed studio was not forgotten: %s", error)

    async def remove(self, person_id: int) -> bool:
        """Delete the person's studio with everything in it, as they asked. False when there was none."""
        channel_id = await self.find(person_id)
        if channel_id is None:
            return False
        async with asyncio.timeout(MAKE_TIMEOUT):
            try:
                await self._client.http.delete_channel(channel_id, reason="its person asked for it")
            except discord.NotFound:
                _log.info("studio %s was gone before", channel_id)
        await self.channel_gone(channel_id)
        return True

    async def channel_appeared(self, channel: discord.abc.GuildChannel) -> None:
        """A create that the library repeated made two: remove the empty one that is nobody's studio."""
        person_id = marked_person(channel) if isinstance(channel, discord.TextChannel) else None
        if person_id is None or person_id in self._locks:  # being made right now: its maker looks for doubles itself
            return
        known = self._known.get(person_id)
        if known is not None and known != channel.id and isinstance(channel, discord.TextChannel):
            await self._remove_double(channel)

    def _guild(self) -> discord.Guild:
        guild = self._client.get_guild(self._guild_id)
        # Before its GUILD_CREATE a guild has no roles, and the deny for @everyone could not be written.
        if guild is None or guild.unavailable or guild.default_role is None:
            raise StudioImpossible("guild_away")
        return guild

    def _is_there(self, channel_id: int, person_id: int) -> bool:
        try:
            guild = self._guild()
        except StudioImpossible:
            return True  # nobody can tell yet; the post will
        channel = guild.get_channel(channel_id)
        if isinstance(channel, discord.TextChannel):
            return is_private_for(channel, person_id) and sees(channel)
        thread = guild.get_thread(channel_id)
        return thread is not None and thread_person(thread, me=guild.me.id) == person_id

    async def _adopt(self, person_id: int) -> int | None:
        """A channel that carries the person's mark: its row was lost, or the answer to its create."""
        try:
            guild = self._guild()
        except StudioImpossible:
            return None
        found = await self._adopt_from(guild.channels, person_id)
        if found is None and (found := self._threads.find(guild, person_id)) is not None:
            await self._keep(person_id, found, kind="thread")
        return found

    async def _adopt_from(self, channels: Sequence[discord.abc.GuildChannel], person_id: int) -> int | None:
        # A mark alone proves nothing, anybody with Manage Channels can write one: it must be private and theirs.
        # The mark's text first: this looks at every channel for each newcomer, a quarter of a millisecond in a full guild.
        mark = topic_mark(person_id)
        own = [
            channel for channel in channels
            if isinstance(channel, discord.TextChannel) and mark in (channel.topic or "")
            and marked_person(channel) == person_id and is_private_for(channel, person_id) and sees(channel)
        ]  # fmt: skip
        if not own:
            return None
        channel = min(own, key=lambda channel: channel.id)
        await self._keep(person_id, channel.id)
        for double in own:
            if double is not channel:
                await self._remove_double(double)
        return channel.id

    async def _keep(self, person_id: int, channel_id: int, *, kind: str = "channel") -> None:
        self._known[person_id] = channel_id
        await self._store.put(_user(person_id), str(self._guild_id), str(channel_id))
        await self._store.set_kind(_user(person_id), str(self._guild_id), kind)

    async def _make(self, person: discord.abc.User, locale: str | None) -> int:
        guild = self._guild()
        await self._spend()  # before the look at how full the guild is: in a crowd others make theirs meanwhile
        if len(guild.channels) >= self._share:
            return await self._make_thread(guild, person)
        self._check_permissions(guild)
        try:
            channel = await self._create(guild, person, locale)
        except NETWORK_FAULTS as error:
            if isinstance(error, discord.HTTPException) and error.code == GUILD_FULL:
                return await self._make_thread(guild, person)
            if isinstance(error, discord.HTTPException) and error.status < 500:
                raise _impossible(error) from error
            return await self._after_doubt(guild, person, locale, error)
        return await self._accept(guild, channel, person.id)

    async def _make_thread(self, guild: discord.Guild, person: discord.abc.User) -> int:
        try:
            thread_id = await self._threads.make(guild, person)
        except discord.HTTPException as error:
            raise _impossible(error) from error
        await self._keep(person.id, thread_id, kind="thread")
        return thread_id

    async def _after_doubt(self, guild: discord.Guild, person: discord.abc.User, locale: str | None, error: Exception) -> int:
        """The create may have happened: look before creating again, and create again once."""
        _log.warning("the answer to making a studio was lost (%s); looking for it", type(error).__name__)
        await self._spend()
        async with asyncio.timeout(MAKE_TIMEOUT):
            channels = await guild.fetch_channels()
        found = await self._adopt_from(channels, person.id)
        if found is not None:
            return found
        await self._spend()
        return await self._accept(guild, await self._create(guild, person, locale), person.id)

    async def _accept(self, guild: discord.Guild, channel: discord.TextChannel, person_id: int) -> int:
        if not is_private_for(channel, person_id):
            _log.error("the new studio %s is not private; removing it", channel.id)
            async with asyncio.timeout(MAKE_TIMEOUT):
                await channel.delete(reason="not private")
            raise StudioImpossible("studio_not_private")
        return await self._adopt_from([channel, *guild.text_channels], person_id) or channel.id

    async def _create(self, guild: discord.Guild, person: discord.abc.User, locale: str | None) -> discord.TextChannel:
        overwrites = self._overwrites(guild, person)
        topic = f"{say('studio.topic', locale, name=person.display_name[:60])} {topic_mark(person.id)}"
        for attempt in range(3):
            category = await self._category(guild, skip=attempt)
            try:
                async with asyncio.timeout(MAKE_TIMEOUT):
                    return await guild.create_text_channel(
                        studio_name(person), category=category, overwrites=overwrites, topic=topic, reason="a studio"
                    )
            except discord.HTTPException as error:
                if not _category_is_full(error):
                    raise
        raise StudioImpossible("guild_full")

    async def _category(self, guild: discord.Guild, *, skip: int, kind: str = "category") -> discord.CategoryChannel:
        """The first studio category with room, made if there is none; ``skip`` of them proved to be full after all."""
        async with self._category_lock:
            name = say(f"studio.{kind}", None)
            oldest_last = sorted(guild.categories, key=lambda category: category.id, reverse=True)
            named = {category.name: category for category in oldest_last}
            for number in range(1, 12):
                wanted = name if number == 1 else f"{name} {number}"
                category = named.get(wanted)
                if category is None:
                    return await self._make_category(guild, wanted)
                if len(category.channels) < IN_CATEGORY_MAX:
                    if skip == 0:
                        return category
                    skip -= 1
            raise StudioImpossible("guild_full")

    async def _make_category(self, guild: discord.Guild, name: str) -> discord.CategoryChannel:
        overwrites = {
            guild.default_role: discord.PermissionOverwrite(view_channel=False),
            guild.me: discord.PermissionOverwrite(view_channel=True),
        }
        try:
            async with asyncio.timeout(MAKE_TIMEOUT):
                made = await guild.create_category(name, overwrites=overwrites, reason="the studios")
        except NETWORK_FAULTS as error:
            if isinstance(error, discord.HTTPException) and error.status < 500:
                raise
            async with asyncio.timeout(MAKE_TIMEOUT):
                channels = await guild.fetch_channels()
            found = [c for c in channels if isinstance(c, discord.CategoryChannel) and c.name == name]
            if not found:
                raise
            return min(found, key=lambda category: category.id)
        return await self._without_double(guild, made)

    async def _without_double(self, guild: discord.Guild, made: discord.CategoryChannel) -> discord.CategoryChannel:
        """The older category of this name, where the library repeated a create that had taken effect."""
        oldest = min((c for c in guild.categories if c.name == made.name), key=lambda category: category.id, default=made)
        if oldest.id >= made.id:
            return made
        async with asyncio.timeout(MAKE_TIMEOUT):
            await made.delete(reason="made twice")
        return oldest

    def _overwrites(
        self, guild: discord.Guild, person: discord.abc.User
    ) -> dict[discord.Role | discord.Member | discord.Object, discord.PermissionOverwrite]:
        granted = self._granted(guild)
        overwrites: dict[discord.Role | discord.Member | discord.Object, discord.PermissionOverwrite] = {
            guild.default_role: discord.PermissionOverwrite(view_channel=False),
            guild.me: granted,
            discord.Object(person.id, type=discord.Member): granted,  # as a member is how it would be sent anyway
        }
        for role_id in self._staff_role_ids:
            role = guild.get_role(role_id)
            if role is not None:
                overwrites[role] = granted
        return overwrites

    @staticmethod
    def _granted(guild: discord.Guild) -> discord.PermissionOverwrite:
        mine = guild.me.guild_permissions
        return discord.PermissionOverwrite(**{name: True for name in _WANTED if getattr(mine, name)})

    def _check_permissions(self, guild: discord.Guild) -> None:
        mine = guild.me.guild_permissions
        missing = [title for name, title in _NEEDED.items() if not getattr(mine, name)]
        if missing:
            raise StudioImpossible("studio_forbidden", permissions=missing)

    async def _remove_double(self, channel: discord.TextChannel) -> None:
        if channel.last_message_id is not None:  # somebody wrote there: people sort that out, not a program
            _log.warning("studio %s is a double, but it has messages; it stays", channel.id)
            return
        try:
            async with asyncio.timeout(MAKE_TIMEOUT):
                await channel.delete(reason="made twice")
        except NETWORK_FAULTS as error:
            _log.warning("the double studio %s could not be removed: %s", channel.id, error)


def _user(person_id: int) -> UserId:
    return UserId(f"discord:{person_id}")


def is_resting(channel: discord.TextChannel) -> bool:
    """Whether it was put aside."""
    return channel.category is not None and channel.category.name.startswith(say("studio.resting_category", None))


def _category_is_full(error: discord.HTTPException) -> bool:
    return error.code == INVALID_BODY and "parent_id" in error.text


def _impossible(error: discord.HTTPException) -> Exception:
    if error.status == 403:
        return StudioImpossible("studio_forbidden", permissions=["Manage Channels", "Manage Roles"])
    if error.code == GUILD_FULL:
        return StudioImpossible("guild_full")
    return error
