"""Messages of channels: send, read, edit, delete, react, type."""

from __future__ import annotations

from rehearsal import messages, model, permissions
from rehearsal.api import Answer, Call, Routes
from rehearsal.clock import Snowflakes
from rehearsal.errors import DiscordError, Form, snowflake
from rehearsal.messages import Body, Draft
from rehearsal.model import Channel, Message

TWO_WEEKS = 14 * 86_400
OLD_MESSAGE = 3600
MOST_REACTIONS = 20
MOST_PINS = 250


def _writable(call: Call) -> Channel:
    world = call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    world.require(channel, permissions.SEND)
    if channel.type not in model.WRITABLE:
        raise DiscordError(50024)
    return channel


async def send(call: Call) -> Answer:
    """POST /channels/{c}/messages."""
    twin, world = call.twin, call.twin.world
    channel = _writable(call)
    mine = world.permissions(world.bot.id, channel)
    if channel.guild_id is None and not any(_reachable(call, channel)):
        raise DiscordError(50278)
    payload = call.form()
    draft = messages.read(twin, Body(payload=payload, channel=channel, files=call.files))
    if (call.files and not mine & permissions.ATTACH) or (draft.embeds and not mine & permissions.EMBED):
        raise DiscordError(50013)
    earlier = _earlier(call, draft) if payload.get("enforce_nonce") is True else None
    if earlier is not None:
        return Answer(twin.render.for_bot(earlier) | {"nonce": earlier.nonce})
    reference = _reference(call, channel, mine)
    message = messages.post(twin, draft, channel, world.bot, reference=reference, type=19 if reference else 0)
    if draft.nonce is not None:
        twin.nonces.pop((world.bot.id, str(draft.nonce)), None)
        twin.nonces[world.bot.id, str(draft.nonce)] = (twin.clock.now(), message.id)
    body = twin.render.for_bot(message)
    return Answer(body if draft.nonce is None else body | {"nonce": draft.nonce})


def _reachable(call: Call, channel: Channel) -> list[bool]:
    world = call.twin.world
    return [True for user in channel.recipients if user.id != world.bot.id for _ in world.mutual_guilds(user.id)]


def _earlier(call: Call, draft: Draft) -> Message | None:
    """The first message with this nonce, whatever this body says; 10008 when that one was deleted (on purpose)."""
    if draft.nonce is None:
        return None
    known = call.twin.same_nonce(call.twin.world.bot.id, str(draft.nonce))
    if known is None:
        return None
    if known[1] is None:
        raise DiscordError(10008)
    return known[1]


def _reference(call: Call, channel: Channel, mine: int) -> dict[str, str] | None:
    given = call.form().get("message_reference")
    if given is None:
        return None
    if not isinstance(given, dict):
        raise DiscordError(50035)
    message_id = snowflake(given.get("message_id"), 50035)
    if not mine & permissions.HISTORY:
        raise DiscordError(160002)
    if message_id not in channel.messages:
        if given.get("fail_if_not_exists") is False:
            return None
        form = Form()
        form.add(("message_reference",), "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
        form.check()
    told = {"type": 0, "message_id": str(message_id), "channel_id": str(channel.id)}
    return told | ({} if channel.guild_id is None else {"guild_id": str(channel.guild_id)})


def _readable(call: Call) -> tuple[Channel, int]:
    world = call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    return channel, world.require(channel)


async def history(call: Call) -> Answer:
    """GET /channels/{c}/messages: newest first; `after` gives the next ones after it; empty without READ_HISTORY."""
    channel, mine = _readable(call)
    form = Form()
    limit = form.number(("limit",), call.query.get("limit"), low=1, high=100) or 50
    form.check()
    if not mine & permissions.HISTORY:
        return Answer([])
    ids = list(channel.messages)
    if "after" in call.query:
        after = snowflake(call.query["after"], 50035)
        chosen = [i for i in ids if i > after][:limit]
    elif "around" in call.query:
        chosen = _around(ids, snowflake(call.query["around"], 50035), limit)
    else:
        before = snowflake(call.query["before"], 50035) if "before" in call.query else 1 << 63
        chosen = [i for i in ids if i < before][-limit:]
    return Answer([call.twin.render.for_bot(channel.messages[i]) for i in reversed(chosen)])


def _around(ids: list[int], middle: int, limit: int) -> list[int]:
    half = limit // 2
    low = [i for i in ids if i < middle][-half:] if half else []
    return (low + [i for i in ids if i >= middle])[: max(1, len(low) + limit - half)]


async def fetch(call: Call) -> Answer:
    """GET /channels/{c}/messages/{m}."""
    channel, mine = _readable(call)
    if not mine & permissions.HISTORY:
        raise DiscordError(50001)
    return Answer(call.twin.render.for_bot(call.twin.world.message(channel, call.id("message_id", 10008))))


async def edit(call: Call) -> Answer:
    """PATCH /channels/{c}/messages/{m}: own messages; others' only their embeds' suppression."""
    twin = call.twin
    channel, mine = _readable(call)
    message = twin.world.message(channel, call.id("message_id", 10008))
    if channel.is_thread and channel.archived:
        raise DiscordError(50083)
    foreign = message.author.id != twin.world.bot.id or (message.webhook_id or 0) in twin.world.webhooks
    if foreign and not (mine & permissions.MANAGE_MESSAGES and set(call.form()) <= {"flags"}):
        raise DiscordError(50005)
    if twin.clock.now() - message.created_at > OLD_MESSAGE and not twin.limits.old_edit(channel.id):
        raise DiscordError(30046)
    draft = messages.read(twin, Body(payload=call.form(), channel=channel, files=call.files, old=message))
    return Answer(twin.render.for_bot(messages.change(twin, message, draft)))


async def delete(call: Call) -> Answer:
    """DELETE /channels/{c}/messages/{m}."""
    channel, mine = _readable(call)
    message = call.twin.world.message(channel, call.id("message_id", 10008))
    if message.author.id != call.twin.world.bot.id and not mine & permissions.MANAGE_MESSAGES:
        raise DiscordError(50013)
    messages.remove(call.twin, message)
    return Answer(status=204)


async def bulk_delete(call: Call) -> Answer:
    """POST /channels/{c}/messages/bulk-delete: 2-100 messages, none older than two weeks."""
    world = call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    world.require(channel, permissions.MANAGE_MESSAGES)
    given = call.form().get("messages")
    if not isinstance(given, list) or not 2 <= len(given) <= 100:
        raise DiscordError(50016)
    ids = [snowflake(i, 50035) for i in given]
    if any(Snowflakes.seconds(i) < call.twin.clock.now() - TWO_WEEKS for i in ids):
        raise DiscordError(50034)
    found = [i for i in ids if i in channel.messages]
    for message_id in found:
        world.discard(channel.messages[message_id])
    call.twin.announce.bulk_deleted(channel, found)
    return Answer(status=204)


def _emoji(text: str) -> str:
    # A custom emoji is name:id; the twin has none. Anything made of ASCII letters is not an emoji at all.
    if not text or ":" in text or text.isascii():
        raise DiscordError(10014)
    return text


async def react(call: Call) -> Answer:
    """PUT /channels/{c}/messages/{m}/reactions/{emoji}/@me."""
    world = call.twin.world
    channel, _ = _readable(call)
    message = world.message(channel, call.id("message_id", 10008))
    emoji = _emoji(call.params["emoji"])
    world.require(channel, permissions.HISTORY)
    if emoji not in message.reactions:
        world.require(channel, permissions.ADD_REACTIONS)
        if len(message.reactions) >= MOST_REACTIONS:
            raise DiscordError(30010)
    users = message.reactions.setdefault(emoji, [])
    if world.bot.id not in users:
        users.append(world.bot.id)
        call.twin.announce.reaction(message, world.bot.id, emoji, added=True)
    return Answer(status=204)


async def unreact(call: Call) -> Answer:
    """DELETE /channels/{c}/messages/{m}/reactions/{emoji}/@me or /{user}."""
    world = call.twin.world
    channel, mine = _readable(call)
    message = world.message(channel, call.id("message_id", 10008))
    emoji = _emoji(call.params["emoji"])
    user = world.bot.id if call.params.get("user_id", "@me") == "@me" else call.id("user_id", 10013)
    if user != world.bot.id and not mine & permissions.MANAGE_MESSAGES:
        raise DiscordError(50013)
    users = message.reactions.get(emoji, [])
    if user in users:
        users.remove(user)
        if not users:
            message.reactions.pop(emoji)
        call.twin.announce.reaction(message, user, emoji, added=False)
    return Answer(status=204)


async def typing(call: Call) -> Answer:
    """POST /channels/{c}/typing."""
    channel = _writable(call)
    call.twin.announce.typing(channel, call.twin.world.bot.id)
    return Answer(status=204)


async def pins(call: Call) -> Answer:
    """GET /channels/{c}/pins."""
    channel, _ = _readable(call)
    pinned = [m for m in channel.messages.values() if m.pinned]
    return Answer([call.twin.render.for_bot(m) for m in reversed(pinned)])


async def pin(call: Call) -> Answer:
    """PUT or DELETE /channels/{c}/pins/{m}, and .../messages/pins/{m}."""
    channel, mine = _readable(call)
    if not mine & permissions.PIN_MESSAGES:
        raise DiscordError(50013)
    message = call.twin.world.message(channel, call.id("message_id", 10008))
    wanted = call.method == "PUT"
    if wanted and not message.pinned and sum(m.pinned for m in channel.messages.values()) >= MOST_PINS:
        raise DiscordError(30003)
    message.pinned = wanted
    call.twin.announce.message_updated(message)
    return Answer(status=204)


def serve(routes: Routes) -> None:
    """Add the routes."""
    base = "/channels/{channel_id}/messages"
    one = base + "/{message_id}"
    routes.add("POST", base, send)
    routes.add("GET", base, history)
    routes.add("POST", base + "/bulk-delete", bulk_delete)
    routes.add("GET", one, fetch)
    routes.add("PATCH", one, edit)
    routes.add("DELETE", one, delete)
    routes.add("PUT", one + "/reactions/{emoji}/@me", react)
    routes.add("DELETE", one + "/reactions/{emoji}/@me", unreact)
    routes.add("DELETE", one + "/reactions/{emoji}/{user_id}", unreact)
    routes.add("POST", "/channels/{channel_id}/typing", typing)
    routes.add("GET", "/channels/{channel_id}/pins", pins)
    for template in ("/channels/{channel_id}/pins/{message_id}", base + "/pins/{message_id}"):
        routes.add("PUT", template, pin)
        routes.add("DELETE", template, pin)
