"""Threads: made from a message or alone, joined, archived, re-opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rehearsal import messages, model, permissions
from rehearsal.api import Answer, Call, Routes
from rehearsal.errors import DiscordError, Form, is_id
from rehearsal.messages import Body
from rehearsal.model import Channel, Message

if TYPE_CHECKING:
    from rehearsal.twin import Twin

ARCHIVE_AFTER = (60, 1440, 4320, 10_080)
MOST_MEMBERS = 1000
MOST_ACTIVE = 1000


def make(
    twin: Twin, parent: Channel, user_id: int, payload: dict[str, Any], message: Message | None = None, *, tags: Sequence[int] = ()
) -> Channel:
    """Make a thread and announce it. Raises 160006, 50035."""
    form = Form()
    name = form.text(("name",), payload.get("name"), low=1, high=100, required=True) or ""
    _archive_after(form, payload)
    kind = model.PUBLIC_THREAD if message is not None else payload.get("type", model.PRIVATE_THREAD)
    if not isinstance(kind, int) or kind not in model.THREADS:
        form.add(("type",), "BASE_TYPE_CHOICES", "Value must be one of (10, 11, 12).")
    form.check()
    active = [t for t in twin.world.guild_threads(parent.guild_id or 0) if not t.archived]
    if len(active) >= MOST_ACTIVE:
        raise DiscordError(160006)
    now = twin.clock.now()
    thread = Channel(
        id=twin.ids.next() if message is None else message.id, type=kind, guild_id=parent.guild_id, name=name,
        parent_id=parent.id, owner_id=user_id, members={user_id: now}, archive_timestamp=now,
        auto_archive_duration=payload.get("auto_archive_duration") or 4320,
        rate_limit_per_user=payload.get("rate_limit_per_user") or 0, invitable=payload.get("invitable") is not False,
        applied_tags=list(tags),
    )  # fmt: skip
    twin.world.channels[thread.id] = thread
    if message is not None:
        message.thread_id = thread.id
    twin.announce.channel_created(thread)
    return thread


def _archive_after(form: Form, payload: dict[str, Any]) -> None:
    if payload.get("auto_archive_duration") not in (None, *ARCHIVE_AFTER):
        form.add(("auto_archive_duration",), "BASE_TYPE_CHOICES", f"Value must be one of {ARCHIVE_AFTER}.")


def edit(twin: Twin, thread: Channel, payload: dict[str, Any]) -> Channel:
    """PATCH of a thread: an archived one first has to be re-opened."""
    world = twin.world
    mine = world.require(thread)
    manages = bool(mine & permissions.MANAGE_THREADS) or thread.owner_id == world.bot.id
    reopening = payload.get("archived") is False
    if thread.archived and not reopening:
        raise DiscordError(50083)
    only_reopens = set(payload) <= {"archived"} and reopening and not thread.locked and mine & permissions.SEND
    if not manages and not only_reopens:
        raise DiscordError(50013)
    form = Form()
    name = form.text(("name",), payload.get("name"), low=1, high=100)
    _archive_after(form, payload)
    form.check()
    thread.name = name or thread.name
    thread.auto_archive_duration = payload.get("auto_archive_duration") or thread.auto_archive_duration
    for key in ("locked", "invitable", "archived"):
        if isinstance(payload.get(key), bool):
            setattr(thread, key, payload[key])
    if "archived" in payload:
        thread.archive_timestamp = twin.clock.now()
    twin.announce.channel_updated(thread)
    return thread


async def start(call: Call) -> Answer:
    """POST /channels/{c}/threads."""
    world = call.twin.world
    parent = world.channel(call.id("channel_id", 10003))
    if parent.type == model.FORUM:
        return _post(call, parent)
    private = call.form().get("type", model.PRIVATE_THREAD) == model.PRIVATE_THREAD
    world.require(parent, permissions.PRIVATE_THREADS if private else permissions.PUBLIC_THREADS)
    if parent.type not in (model.TEXT, model.NEWS):
        raise DiscordError(50024)
    thread = make(call.twin, parent, world.bot.id, call.form())
    return Answer(call.twin.render.thread_with_member(thread), 201)


def _post(call: Call, forum: Channel) -> Answer:
    """A thread of a forum and its first message, whose id is the thread's. There is no nonce here."""
    twin, payload = call.twin, call.form()
    mine = twin.world.require(forum, permissions.SEND)
    if call.files and not mine & permissions.ATTACH:
        raise DiscordError(50013)
    given = payload.get("message")
    draft = messages.read(twin, Body(payload=given if isinstance(given, dict) else {}, channel=forum, files=call.files))
    tags = [int(tag) for tag in payload.get("applied_tags") or [] if is_id(tag) and int(tag) in forum.tags]
    if forum.requires_tag and not tags:
        raise DiscordError(40067)
    thread = make(twin, forum, twin.world.bot.id, payload | {"type": model.PUBLIC_THREAD}, tags=tags)
    for attachment in draft.attachments:
        attachment.channel_id = thread.id
    message = messages.post(twin, draft, thread, twin.world.bot, id=thread.id)
    return Answer(twin.render.thread_with_member(thread) | {"message": twin.render.for_bot(message)}, 201)


async def start_from_message(call: Call) -> Answer:
    """POST /channels/{c}/messages/{m}/threads."""
    world = call.twin.world
    parent = world.channel(call.id("channel_id", 10003))
    world.require(parent, permissions.PUBLIC_THREADS)
    message = world.message(parent, call.id("message_id", 10008))
    if message.thread_id is not None:
        raise DiscordError(160004)
    thread = make(call.twin, parent, world.bot.id, call.form(), message)
    return Answer(call.twin.render.thread_with_member(thread), 201)


def _thread(call: Call) -> Channel:
    thread = call.twin.world.channel(call.id("channel_id", 10003))
    if not thread.is_thread:
        raise DiscordError(50024)
    call.twin.world.require(thread)
    return thread


def _who(call: Call) -> int:
    given = call.params["user_id"]
    return call.twin.world.bot.id if given == "@me" else call.id("user_id", 10013)


async def add_member(call: Call) -> Answer:
    """PUT /channels/{t}/thread-members/{u}."""
    thread, user_id = _thread(call), _who(call)
    guild = call.twin.world.guild(thread.guild_id or 0)
    call.twin.world.member(guild, user_id)
    if thread.archived:
        raise DiscordError(50083)
    if len(thread.members) >= MOST_MEMBERS:
        raise DiscordError(30033)
    if user_id not in thread.members:
        thread.members[user_id] = call.twin.clock.now()
        call.twin.announce.thread_members(thread, added=[user_id], removed=[])
    return Answer(status=204)


async def remove_member(call: Call) -> Answer:
    """DELETE /channels/{t}/thread-members/{u}."""
    thread, user_id = _thread(call), _who(call)
    world = call.twin.world
    own = user_id == world.bot.id or (thread.type == model.PRIVATE_THREAD and thread.owner_id == world.bot.id)
    if not own:
        world.require(thread, permissions.MANAGE_THREADS)
    if thread.members.pop(user_id, None) is not None:
        call.twin.announce.thread_members(thread, added=[], removed=[user_id])
    return Answer(status=204)


async def members(call: Call) -> Answer:
    """GET /channels/{t}/thread-members."""
    thread = _thread(call)
    return Answer([call.twin.render.thread_member(thread, user_id) for user_id in thread.members])


async def active(call: Call) -> Answer:
    """GET /guilds/{g}/threads/active."""
    world, render = call.twin.world, call.twin.render
    guild = world.guild_for_bot(call.id("guild_id", 10004))
    seen = [t for t in world.guild_threads(guild.id) if not t.archived and world.sees(world.bot.id, t)]
    mine = [render.thread_member(t, world.bot.id) for t in seen if world.bot.id in t.members]
    return Answer({"threads": [render.channel(t) for t in seen], "members": mine, "has_more": False})


def serve(routes: Routes) -> None:
    """Add the routes."""
    routes.add("POST", "/channels/{channel_id}/threads", start)
    routes.add("POST", "/channels/{channel_id}/messages/{message_id}/threads", start_from_message)
    routes.add("GET", "/channels/{channel_id}/thread-members", members)
    routes.add("PUT", "/channels/{channel_id}/thread-members/{user_id}", add_member)
    routes.add("DELETE", "/channels/{channel_id}/thread-members/{user_id}", remove_member)
    routes.add("GET", "/guilds/{guild_id}/threads/active", active)
