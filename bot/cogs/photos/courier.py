"""Posts one delivery into its channel, once: stable nonce, and the channel read back whenever there is doubt.

The order that makes it once (measured against lost answers, kills and 5xx): the outbox stamps the first try before any
request; the nonce is the delivery's id, so that a repeat within Discord's window of a few minutes returns the first
message; after a doubt the channel is read for a mark that history returns (the file's name, the first component's id),
since the nonce itself is not in history. Results go out with the bot's token, never through an interaction's.
"""

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import discord

from bot.cogs.interactions import NETWORK_FAULTS
from bot.cogs.photos import cards, result
from bot.cogs.photos.budget import Budget
from bot.cogs.photos.memory import CardMemory, Sight, marker_of
from bot.cogs.photos.parcels import LinkOf, Parcels, further_marks, may_be_split, shown_in
from bot.poster import Hopeless, Outcome, Posted, TryLater
from jobs.job import Job, JobId, Place, person
from jobs.ports import Delivery, DeliveryKind, JobStore, Outbox, PictureStore
from jobs.words import say

_log = logging.getLogger(__name__)

DELETED = "0"
"""The message id of what was posted and then deleted by somebody: nothing to edit, nothing to post again."""

UNKNOWN_MESSAGE, UNKNOWN_CHANNEL, UNKNOWN_GUILD = 10008, 10003, 10004

CLOCK_DOUBT = timedelta(minutes=10)
"""How far the database's clock and Discord's may differ when a channel is read back without a card to start from."""

FORBIDDEN_AFTER = 60.0
"""Seconds until what an admin has to allow is tried again: each try counts against Discord's limit of invalid requests."""

READ_BACK_MAX = 1000
"""Messages. More than anybody posts beside a delivery in doubt, few enough to end within its time."""

FILE_LIMIT = 10 * 1024 * 1024
"""Bytes, where the guild's own limit is not known (Discord's reference page; boosts raise it)."""

TAKE_DOWN_TIMEOUT = 20.0
TELL_TIMEOUT = 10.0


class DiscordCourier:
    """The :class:`bot.poster.Courier` over discord.py."""

    def __init__(
        self,
        *,
        client: discord.Client,
        store: JobStore,
        outbox: Outbox,
        pictures: PictureStore,
        memory: CardMemory,
        budget: Budget,
        on_channel_gone: Callable[[Place], Awaitable[None]],
        since: datetime | None = None,
        link_of: LinkOf | None = None,
    ) -> None:
        self._client = client
        self._store = store
        self._outbox = outbox
        self._pictures = pictures
        self._memory = memory
        self._budget = budget
        self._on_channel_gone = on_channel_gone
        self._parcels = Parcels(pictures=pictures, send=self._send_parcel, link_of=link_of)
        self._since = since or discord.utils.utcnow()
        """What was asked before may have been posted by a ledger that an older copy has replaced since."""

    async def deliver(self, delivery: Delivery) -> Outcome:
        """See the port."""
        try:
            if delivery.kind is DeliveryKind.CLOSE:
                return await self._close(delivery)
            return await self._post_once(delivery)
        except NETWORK_FAULTS as error:
            if self._budget.barred_for():
                return TryLater(reason=str(error)[:200], after=self._budget.barred_for())
            outcome = outcome_of(error, posting=delivery.kind is not DeliveryKind.CLOSE)
            if isinstance(outcome, Hopeless) and outcome.reason == "channel_gone":
                await self._channel_gone(delivery)
            return outcome

    async def _channel_gone(self, delivery: Delivery) -> None:
        """The studio is deleted: the next request makes a new one, and who waits for a photo hears where it is."""
        await self._on_channel_gone(delivery.place)
        job = await self._store.get(delivery.job_id)
        if delivery.kind is DeliveryKind.PICTURE and job is not None:
            await self._write_to(job, say("delivery.studio_gone_dm", delivery.place.locale))

    async def _post_once(self, delivery: Delivery) -> Outcome:
        job = await self._store.get(delivery.job_id)
        if job is None:
            return Hopeless(reason="no such job")
        card_id = None
        if delivery.kind is not DeliveryKind.CARD:
            card_id = _snowflake(await self._outbox.message_of(delivery.job_id, delivery.generation, DeliveryKind.CARD))
        found = await self._posted_before(delivery, job, card_id)
        if found is not None:
            _log.info("delivery %s was posted before; its answer was lost, or the ledger is an older copy", delivery.id)
            if delivery.kind is DeliveryKind.PICTURE and may_be_split(job):
                await self._post_rest(delivery, job, found)
            return Posted(message_id=str(found))
        return await self._post(delivery, job, card_id)

    async def _posted_before(self, delivery: Delivery, job: Job, card_id: int | None) -> int | None:
        """The message that is this delivery, looked for wherever there may be one."""
        if delivery.first_try_at is not None:
            return await self._find(delivery, card_id, since=delivery.first_try_at)
        if job.created_at >= self._since:
            return None
        try:
            return await self._find(delivery, card_id, since=job.created_at)
        except discord.Forbidden:  # without the right to read history the nonce has to do
            return None

    async def _find(self, delivery: Delivery, card_id: int | None, *, since: datetime) -> int | None:
        """Our own message with this delivery's mark, in the channel since its card, or since then."""
        after = discord.Object(card_id) if card_id else since - CLOCK_DOUBT
        me = self._client.user.id if self._client.user else 0
        await self._budget.spend()
        async for message in self._channel(delivery.place).history(limit=READ_BACK_MAX, after=after, oldest_first=True):
            if message.author.id == me and is_marked(message, delivery):
                return message.id
        return None

    async def _post(self, delivery: Delivery, job: Job, card_id: int | None) -> Outcome:
        match delivery.kind:
            case DeliveryKind.CARD:
                return await self._post_card(delivery)
            case DeliveryKind.PICTURE:
                return await self._post_picture(delivery, job)
            case _:
                return await self._post_failure(delivery, job, card_id)

    async def _post_card(self, delivery: Delivery) -> Outcome:
        sight = await self._memory.look(delivery.job_id)
        if sight is None:
            return Hopeless(reason="no such job")
        view = cards.card(sight.outlook, marker=_marker(delivery))
        message = await self._send(delivery, view, _files(sight), silent=True)
        self._memory.memo(delivery.job_id).shown = sight.fingerprint
        return Posted(message_id=str(message.id))

    async def _post_picture(self, delivery: Delivery, job: Job) -> Outcome:
        extras = result.Extras(origin=await self._origin(job), line=await self._memory.ending_line(job))
        message_id = await self._parcels.deliver(delivery, job, limit=self._file_limit(delivery.place), extras=extras)
        if message_id is None:
            message = await self._send(delivery, result.lost_picture(job, marker=_marker(delivery)), [], mentions=_owner(job))
            return Posted(message_id=str(message.id))
        await self._tell_privately(job, message_id)
        return Posted(message_id=str(message_id))

    async def _post_rest(self, delivery: Delivery, job: Job, first: int) -> None:
        """What a crash or a lost answer left of several messages: the first is there, and the channel tells which pictures are."""
        me = self._client.user.id if self._client.user else 0
        shown: set[int] = set()
        await self._budget.spend()
        after = discord.Object(first - 1)
        async for message in self._channel(delivery.place).history(limit=READ_BACK_MAX, after=after, oldest_first=True):
            if message.author.id == me:
                shown |= shown_in(delivery, [item.media.url for item in gallery_items(message.components)])
        limit = self._file_limit(delivery.place)
        await self._parcels.deliver(delivery, job, limit=limit, extras=result.Extras(), first=first, shown=shown)

    async def _send_parcel(
        self, delivery: Delivery, job: Job, view: discord.ui.LayoutView, files: list[discord.File], *, nonce: str, is_first: bool
    ) -> discord.Message:
        return await self._send(delivery, view, files, nonce=nonce, mentions=_owner(job) if is_first else None)

    async def _tell_privately(self, job: Job, message_id: int) -> None:
        """A direct message, for who chose it."""
        if job.place is None or not await self._memory.wants_dm(job):
            return
        link = f"https://discord.com/channels/{job.place.guild_id}/{job.place.channel_id}/{message_id}"
        await self._write_to(job, say("photo.ready_dm", job.place.locale, link=link))

    async def _write_to(self, job: Job, words: str) -> None:
        """A direct message. A courtesy: tried once, and its failure is nobody's fault."""
        try:
            await self._budget.spend()
            async with asyncio.timeout(TELL_TIMEOUT):
                channel = await self._client.http.start_private_message(int(person(job.user_id)))
                await self._client.get_partial_messageable(int(channel["id"])).send(words)
        except NETWORK_FAULTS as error:
            _log.info("no direct message for job %s: %s", job.id, error)

    async def _origin(self, job: Job) -> str | None:
        """Where the picture that this one descends from was posted; None when nobody can tell."""
        parent = await self._store.get(JobId(job.order.parent)) if job.order.parent else None
        if parent is None or parent.place is None or parent.user_id != job.user_id:
            return None
        message_id = _snowflake(await self._outbox.message_of(parent.id, parent.generation, DeliveryKind.PICTURE))
        place = parent.place
        return f"https://discord.com/channels/{place.guild_id}/{place.channel_id}/{message_id}" if message_id else None

    async def _post_failure(self, delivery: Delivery, job: Job, card_id: int | None) -> Outcome:
        options: dict[str, Any] = {}
        if card_id:
            options["reference"] = discord.MessageReference(
                message_id=card_id,
                channel_id=int(delivery.place.channel_id),
                guild_id=int(delivery.place.guild_id),
                fail_if_not_exists=False,
            )
        view = result.failure(job, marker=_marker(delivery))
        message = await self._send(delivery, view, [], mentions=_owner(job), **options)
        return Posted(message_id=str(message.id))

    async def _send(
        self,
        delivery: Delivery,
        view: discord.ui.LayoutView,
        files: list[discord.File],
        *,
        nonce: str | None = None,
        mentions: discord.AllowedMentions | None = None,
        **options: Any,
    ) -> discord.Message:
        await self._budget.spend()
        return await self._channel(delivery.place).send(
            view=view,
            files=files,
            nonce=nonce or delivery.id,  # discord.py sets enforce_nonce with it
            allowed_mentions=mentions or discord.AllowedMentions.none(),
            **options,
        )

    async def _close(self, delivery: Delivery) -> Outcome:
        """Bring the card to its last state. An edit may be made twice; a card that is gone needs none."""
        card_id = _snowflake(await self._outbox.message_of(delivery.job_id, delivery.generation, DeliveryKind.CARD))
        if card_id is not None:
            memo = self._memory.memo(delivery.job_id)
            async with memo.lock:
                sight = await self._memory.look(delivery.job_id)
                if sight is not None:
                    await self._edit_or_gone(sight, card_id)
        self._memory.forget(delivery.job_id)
        return Posted(message_id=str(card_id or DELETED))

    async def _edit_or_gone(self, sight: Sight, card_id: int) -> None:
        try:
            await self._budget.spend()
            await self.edit_card(sight, card_id)
        except discord.NotFound:
            _log.info("the card of job %s is gone", sight.job.id)

    async def edit_card(self, sight: Sight, message_id: int) -> None:
        """Make the card say ``sight``. Raises what discord.py raises; the caller pays the budget and holds the lock."""
        job = sight.job
        assert job.place is not None
        marker = marker_of(job.id, job.generation, DeliveryKind.CARD)
        message = self._channel(job.place).get_partial_message(message_id)
        # attachments is always given: kept files that nothing refers to would stay on the message, unseen.
        await message.edit(view=cards.card(sight.outlook, marker=marker), attachments=_files(sight))

    async def take_down(self, job: Job) -> None:
        """Delete the message that brought the pictures. Harmless when it is gone; raises what else discord.py raises."""
        message_id = _snowflake(await self._outbox.message_of(job.id, job.generation, DeliveryKind.PICTURE))
        if job.place is None or message_id is None:
            return
        await self._budget.spend()
        if may_be_split(job):
            await self._take_down_further(job, job.place, message_id)
        try:
            async with asyncio.timeout(TAKE_DOWN_TIMEOUT):
                await self._channel(job.place).get_partial_message(message_id).delete()
        except discord.NotFound:
            _log.info("the pictures of job %s were gone before", job.id)

    async def _take_down_further(self, job: Job, place: Place, first: int) -> None:
        marks, me = further_marks(job), self._client.user.id if self._client.user else 0
        async with asyncio.timeout(TAKE_DOWN_TIMEOUT):
            async for message in self._channel(place).history(limit=READ_BACK_MAX, after=discord.Object(first), oldest_first=True):
                if message.author.id == me and any(getattr(part, "id", None) in marks for part in message.components):
                    await self._budget.spend()
                    await message.delete()

    def _channel(self, place: Place) -> discord.PartialMessageable:
        """No request: the channel need not be in the cache."""
        return self._client.get_partial_messageable(int(place.channel_id), guild_id=int(place.guild_id))

    def _file_limit(self, place: Place) -> int:
        guild = self._client.get_guild(int(place.guild_id))
        return guild.filesize_limit if guild is not None and not guild.unavailable else FILE_LIMIT


def _marker(delivery: Delivery) -> int:
    return marker_of(delivery.job_id, delivery.generation, delivery.kind, delivery.part)


def _owner(job: Job) -> discord.AllowedMentions:
    owner = person(job.user_id)
    users = [discord.Object(int(owner))] if owner.isdecimal() else []
    return discord.AllowedMentions(users=users, everyone=False, roles=False, replied_user=False)


def _files(sight: Sight) -> list[discord.File]:
    """A new File each time: a used one sends no bytes, and says nothing."""
    if sight.preview is None or sight.outlook.preview is None:
        return []
    return [discord.File(io.BytesIO(sight.preview), filename=sight.outlook.preview)]


def _snowflake(message_id: str | None) -> int | None:
    return int(message_id) if message_id and message_id.isdecimal() and message_id != DELETED else None


def is_marked(message: discord.Message, delivery: Delivery) -> bool:
    """Whether a message of ours is this delivery: by its file's name, or by its first component's id."""
    if any(getattr(component, "id", None) == _marker(delivery) for component in message.components):
        return True
    return any(f"/{delivery.id}." in item.media.url for item in gallery_items(message.components))


def gallery_items(components: Any) -> list[discord.MediaGalleryItem]:
    """What a message's galleries show, in order."""
    items: list[discord.MediaGalleryItem] = []
    for component in components:
        if isinstance(component, discord.MediaGalleryComponent):
            items.extend(component.items)
        elif isinstance(component, discord.Container):
            items.extend(gallery_items(component.children))
    return items


def outcome_of(error: Exception, *, posting: bool) -> Outcome:
    """The one table from Discord's refusals to what becomes of a delivery.

    ``posting`` tells a POST with a nonce (10008: it was posted and then deleted) from an edit.
    """
    if isinstance(error, discord.RateLimited):
        return TryLater(reason="rate limited", after=error.retry_after)
    if not isinstance(error, discord.HTTPException):
        return TryLater(reason=f"unknown outcome: {type(error).__name__}")
    reason = f"{error.status} {error.code} {error.text[:200]}"
    if error.code == UNKNOWN_MESSAGE and posting:
        return Posted(message_id=DELETED)
    if error.code in (UNKNOWN_CHANNEL, UNKNOWN_GUILD):
        return Hopeless(reason="channel_gone")
    if error.status in (401, 429) or error.status >= 500:
        return TryLater(reason=reason)
    if error.status in (403, 404):  # an admin can mend it
        return TryLater(reason=reason, after=FORBIDDEN_AFTER, patient=False)
    return Hopeless(reason=reason)
