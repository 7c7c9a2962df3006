"""The control API's playing half: what a member types, clicks, picks, uploads."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

from aiohttp import BodyPartReader, web

from rehearsal import commands, components, messages, modals, model, options, permissions, threads
from rehearsal.control import Ask, Refused, answer, guarded
from rehearsal.errors import is_id
from rehearsal.interactions import AUTOCOMPLETE, COMMAND, COMPONENT, MODAL, Interaction
from rehearsal.messages import Body
from rehearsal.model import Channel, Message, User
from rehearsal.options import Filling

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]
MOST_UPLOADS = 2_000
LONGEST_WAIT_S = 900.0


async def _told(ask: Ask, interaction: Interaction, wait: str | None = None) -> Json:
    wait = wait or ask.get("wait")
    if wait not in (None, "ack", "answer"):
        raise Refused(400, "bad_request", "'wait' is ack or answer.")
    if wait is not None:
        limit = min(LONGEST_WAIT_S, ask.number("timeout_s", 20))
        await ask.twin.interactions.wait(interaction, wait, limit)
    return ask.twin.view.interaction(interaction)


def _command(ask: Ask, user: User, channel: Channel, name: str, kinds: tuple[int, ...]) -> Json:
    for command in commands.visible(ask.twin, channel.guild_id):
        if command["name"] == name and command["type"] in kinds:
            refusal = commands.refusal(ask.twin, command, user.id, channel)
            if refusal is not None:
                raise Refused(403, "not_allowed", refusal)
            return command
    raise Refused(404, "not_synced", f"The bot has not synced a command {name!r} here.")


def _composer(ask: Ask, user: User, channel: Channel) -> None:
    """Slash commands are typed into the composer, and there is none where one may not write."""
    if not ask.twin.world.permissions(user.id, channel) & permissions.SEND:
        raise Refused(403, "not_allowed", f"{user.username} may not write in that channel.")
    if channel.type not in model.WRITABLE:
        raise Refused(400, "not_allowed", "Nobody can write in a channel of that kind.")


def _fields(ask: Ask, name: str) -> Json:
    value = ask.get(name, {})
    if not isinstance(value, dict):
        raise Refused(400, "bad_request", f"The field {name!r} must be an object.")
    return value


async def slash(ask: Ask) -> Json:
    """POST /control/slash."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    _composer(ask, user, channel)
    name, *rest = ask.text("name").lstrip("/").split()
    command = _command(ask, user, channel, name, (commands.SLASH,))
    known, way = options.descend(command, rest)
    filling = Filling(ask, user, channel)
    told = options.wrap(way, options.fill(filling, known, _fields(ask, "options")))
    data: Json = {"id": command["id"], "name": name, "type": commands.SLASH, "options": told}
    data |= _scope(command) | ({"resolved": filling.resolved} if filling.resolved else {})
    shown = " ".join([name, *rest])
    return await _told(ask, ask.twin.interactions.begin("slash", COMMAND, shown, user, channel, data))


def _scope(command: Json) -> Json:
    return {"guild_id": command["guild_id"]} if "guild_id" in command else {}


async def autocomplete(ask: Ask) -> Json:
    """POST /control/autocomplete."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    _composer(ask, user, channel)
    name, *rest = ask.text("name").lstrip("/").split()
    command = _command(ask, user, channel, name, (commands.SLASH,))
    known, way = options.descend(command, rest)
    told = options.wrap(way, options.typed(known, _fields(ask, "options"), ask.text("focused")))
    data = {"id": command["id"], "name": name, "type": commands.SLASH, "options": told} | _scope(command)
    interaction = ask.twin.interactions.begin("autocomplete", AUTOCOMPLETE, name, user, channel, data)
    return await _told(ask, interaction, wait="ack")


async def menu(ask: Ask) -> Json:
    """POST /control/menu."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    command = _command(ask, user, channel, ask.text("name"), (commands.USER, commands.MESSAGE))
    filling = Filling(ask, user, channel)
    if command["type"] == commands.USER:
        target = filling.mention_user("target_id", ask.get("target_id"))
    else:
        message = ask.message(user.id, "target_id")
        target = str(message.id)
        filling.resolved["messages"] = {target: ask.twin.render.message(message)}
    data = {"id": command["id"], "name": command["name"], "type": command["type"], "target_id": target}
    data |= {"resolved": filling.resolved} | _scope(command)
    interaction = ask.twin.interactions.begin("menu", COMMAND, command["name"], user, channel, data, command_type=command["type"])
    return await _told(ask, interaction)


def _part(ask: Ask, user: User, kinds: frozenset[int]) -> tuple[Message, Json]:
    message = ask.message(user.id)
    node = components.find(message.components, ask.text("custom_id"))
    if node is None or node["type"] not in kinds:
        raise Refused(404, "not_found", f"That message has no such control {ask.text('custom_id')!r}.")
    if node.get("disabled"):
        raise Refused(409, "disabled", f"{node.get('label') or 'That control'} is disabled.")
    return message, node


async def click(ask: Ask) -> Json:
    """POST /control/click."""
    user = ask.actor()
    message, node = _part(ask, user, frozenset({components.BUTTON}))
    channel = ask.twin.world.channels[message.channel_id]
    data = {"component_type": components.BUTTON, "custom_id": node["custom_id"], "id": node["id"]}
    interaction = ask.twin.interactions.begin("click", COMPONENT, node["custom_id"], user, channel, data, message_id=message.id)
    return await _told(ask, interaction)


async def select(ask: Ask) -> Json:
    """POST /control/select."""
    user = ask.actor()
    message, node = _part(ask, user, components.SELECTS)
    channel = ask.twin.world.channels[message.channel_id]
    given = ask.get("values", [])
    if not isinstance(given, list):
        raise Refused(400, "bad_request", "The field 'values' must be a list.")
    filling = Filling(ask, user, channel)
    values = _picked(filling, node, given)
    data: Json = {"component_type": node["type"], "custom_id": node["custom_id"], "id": node["id"], "values": values}
    if node["type"] != components.SELECT:
        data["resolved"] = filling.resolved
    interaction = ask.twin.interactions.begin("select", COMPONENT, node["custom_id"], user, channel, data, message_id=message.id)
    return await _told(ask, interaction)


def _picked(filling: Filling, node: Json, given: list[Any]) -> list[str]:
    name = node["custom_id"]
    values = [str(v) for v in given]
    if node["type"] == components.USERS:
        values = [filling.mention_user(name, v) for v in given]
    elif node["type"] == components.ROLES:
        values = [filling.mention_role(name, v) for v in given]
    elif node["type"] == components.CHANNELS:
        values = [filling.mention_channel(name, v, node.get("channel_types") or []) for v in given]
    elif node["type"] == components.MENTIONABLES:
        roles = filling.guild.roles if filling.guild else {}
        values = [filling.mention_role(name, v) if is_id(v) and int(v) in roles else filling.mention_user(name, v) for v in given]
    elif node["type"] == components.UPLOAD:
        values = [filling.attach(name, v) for v in given]
    return modals.picked(node, values)


def _filled_in(ask: Ask, form: Json, filling: Filling) -> Json:
    answers = _fields(ask, "values")
    for node in modals.fields(form):
        given = answers.get(node["custom_id"])
        if isinstance(given, list) and (node["type"] in components.SELECTS or node["type"] == components.UPLOAD):
            answers[node["custom_id"]] = _picked(filling, node, given)
    data: Json = {"custom_id": form["custom_id"], "components": modals.submitted(form, answers)}
    return data | ({"resolved": filling.resolved} if filling.resolved else {})


def _tampered(ask: Ask) -> Json:
    """What a client of somebody's own making sends: Discord checks less of it than its client does."""
    told = ask.object("tampered")
    return {"custom_id": str(told.get("custom_id", "")), "components": told.get("components", [])}


async def modal(ask: Ask) -> Json:
    """POST /control/modal: answer the modal an interaction opened, once."""
    user = ask.actor()
    source = ask.twin.interactions.get(ask.id("interaction_id"))
    if source is None or source.modal is None:
        raise Refused(404, "not_found", "That interaction opened no modal.")
    if source.user_id != user.id:
        raise Refused(403, "not_yours", "Somebody else has that modal open.")
    if source.modal_used:
        raise Refused(409, "gone", "That modal was already submitted.")
    channel = ask.twin.world.channels.get(source.channel_id)
    if channel is None:
        raise Refused(410, "gone", "The channel was deleted.")
    data = _tampered(ask) if ask.get("tampered") else _filled_in(ask, source.modal, Filling(ask, user, channel))
    source.modal_used = True
    interaction = ask.twin.interactions.begin(
        "modal",
        MODAL,
        source.modal["custom_id"],
        user,
        channel,
        data,
        message_id=source.message_id,
        trigger=source.summary(),
    )
    return await _told(ask, interaction)


def _write(ask: Ask, user: User, channel: Channel) -> messages.Draft:
    _composer(ask, user, channel)
    ids = ask.get("files", [])
    if not isinstance(ids, list) or len(ids) > messages.MOST_FILES:
        raise Refused(400, "bad_request", f"'files' is a list of up to {messages.MOST_FILES} upload ids.")
    if ids and not ask.twin.world.permissions(user.id, channel) & permissions.ATTACH:
        raise Refused(403, "not_allowed", f"{user.username} may not attach files there.")
    files = {n: options.own_upload(ask, user, upload_id, channel) for n, upload_id in enumerate(ids)}
    payload = {"content": ask.get("content", "")}
    return messages.read(ask.twin, Body(payload=payload, channel=channel, files=files))


async def message(ask: Ask) -> Json:
    """POST /control/message."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    draft = _write(ask, user, channel)
    reference = None
    if ask.get("reply_to"):
        target = ask.message(user.id, "reply_to")
        if target.channel_id != channel.id or target.ephemeral_for is not None:
            raise Refused(400, "not_allowed", "One replies to a message of the same channel.")
        reference = {"type": 0, "message_id": str(target.id), "channel_id": str(channel.id)}
        reference |= {"guild_id": str(channel.guild_id)} if channel.guild_id else {}
    kind = 19 if reference else 0
    posted = messages.post(ask.twin, draft, channel, user, reference=reference, type=kind)
    return ask.twin.view.message(posted, user.id)


async def edit_message(ask: Ask) -> Json:
    """POST /control/message/edit."""
    user = ask.actor()
    target = ask.message(user.id)
    if target.author.id != user.id:
        raise Refused(403, "not_yours", "Only its author can edit a message.")
    channel = ask.twin.world.channels[target.channel_id]
    draft = messages.read(ask.twin, Body(payload={"content": ask.text("content")}, channel=channel, old=target))
    return ask.twin.view.message(messages.change(ask.twin, target, draft), user.id)


async def delete_message(ask: Ask) -> Json:
    """POST /control/message/delete: own ones, others' with Manage Messages; ephemeral ones are dismissed."""
    user = ask.actor()
    target = ask.message(user.id)
    channel = ask.twin.world.channels[target.channel_id]
    powers = ask.twin.world.permissions(user.id, channel)
    if target.ephemeral_for is None and target.author.id != user.id and not powers & permissions.MANAGE_MESSAGES:
        raise Refused(403, "not_allowed", f"{user.username} may not delete that message.")
    messages.remove(ask.twin, target)
    return {}


async def reaction(ask: Ask) -> Json:
    """POST /control/reaction."""
    user = ask.actor()
    target = ask.message(user.id)
    emoji = ask.text("emoji")
    if emoji.isascii() or len(emoji) > 32:
        raise Refused(400, "bad_request", "That is not an emoji.")
    users = target.reactions.setdefault(emoji, [])
    adding = not ask.get("remove", False)
    if adding != (user.id in users):
        (users.append if adding else users.remove)(user.id)
        if not users:
            target.reactions.pop(emoji)
        ask.twin.announce.reaction(target, user.id, emoji, added=adding)
    elif not users:
        target.reactions.pop(emoji)
    return ask.twin.view.message(target, user.id)


async def typing(ask: Ask) -> Json:
    """POST /control/typing."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    _composer(ask, user, channel)
    ask.twin.announce.typing(channel, user.id)
    return {}


async def thread(ask: Ask) -> Json:
    """POST /control/thread."""
    user = ask.actor()
    channel = ask.visible_channel(user)
    private = ask.get("private", False) is True
    needed = permissions.PRIVATE_THREADS if private else permissions.PUBLIC_THREADS
    if not ask.twin.world.permissions(user.id, channel) & needed:
        raise Refused(403, "not_allowed", f"{user.username} may not make a thread there.")
    start = ask.message(user.id) if ask.get("message_id") else None
    kind = model.PRIVATE_THREAD if private else model.PUBLIC_THREAD
    made = threads.make(ask.twin, channel, user.id, {"name": ask.text("name"), "type": kind}, start)
    return ask.twin.view.channel(made, user.id)


async def dm(ask: Ask) -> Json:
    """POST /control/dm."""
    user = ask.actor()
    if not any(True for _ in ask.twin.world.mutual_guilds(user.id)):
        raise Refused(403, "not_allowed", f"{user.username} and the bot share no server.")
    channel = ask.twin.world.dm(user)
    ask.twin.watchers.refresh()
    return ask.twin.view.channel(channel, user.id)


ROUTES = [
    ("POST", "slash", slash),
    ("POST", "autocomplete", autocomplete),
    ("POST", "menu", menu),
    ("POST", "click", click),
    ("POST", "select", select),
    ("POST", "modal", modal),
    ("POST", "message", message),
    ("POST", "message/edit", edit_message),
    ("POST", "message/delete", delete_message),
    ("POST", "reaction", reaction),
    ("POST", "typing", typing),
    ("POST", "thread", thread),
    ("POST", "dm", dm),
]


def serve(app: web.Application, twin: Twin) -> None:
    """Add the multipart route."""

    async def upload(request: web.Request) -> web.StreamResponse:
        if request.content_type != "multipart/form-data":
            raise Refused(415, "bad_request", "Send multipart/form-data with 'as' and 'file'.")
        return answer(await _upload(twin, request))

    app.router.add_post("/control/upload", guarded(upload))


async def _upload(twin: Twin, request: web.Request) -> Json:
    fields: Json = dict(request.query)
    files: list[tuple[str, bytes]] = []
    async with asyncio.timeout(120):
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                continue
            data = bytes(await part.read())
            if part.filename is None:
                fields[part.name or ""] = data.decode(errors="replace")
            elif len(data) > twin.request_limit():
                raise Refused(413, "too_large", f"{part.filename} is too large.")
            else:
                files.append((part.filename, data))
    user = Ask(twin, fields).actor()
    told = []
    for name, data in files:
        kept = await twin.store.keep(name, data)
        upload_id = secrets.token_hex(12)
        twin.uploads[upload_id] = (user.id, kept)
        told.append({"upload_id": upload_id, "filename": kept.filename, "size": kept.size, "content_type": kept.content_type})
    while len(twin.uploads) > MOST_UPLOADS:
        twin.uploads.pop(next(iter(twin.uploads)))
    return {"uploads": told}
