"""Webhooks of channels, and the webhook routes of interaction tokens."""

from __future__ import annotations

import secrets
from typing import Any

from rehearsal import messages, model, permissions
from rehearsal.api import Answer, Call, Routes
from rehearsal.errors import DiscordError, Form
from rehearsal.interactions import Interaction, callback
from rehearsal.messages import Body
from rehearsal.model import Message, Webhook

MOST_WEBHOOKS = 15


def _interaction(call: Call) -> Interaction | None:
    """The interaction, when the id in the path is the application's."""
    if call.params["webhook_id"] != str(call.twin.world.application.id):
        return None
    return call.twin.interactions.by_token(call.params["token"])


def _webhook(call: Call) -> Webhook:
    webhook = call.twin.world.webhooks.get(call.id("webhook_id", 10015))
    if webhook is None:
        raise DiscordError(10015)
    if "token" in call.params and not secrets.compare_digest(webhook.token, call.params["token"]):
        raise DiscordError(50027)
    return webhook


def _rendered(call: Call, message: Message) -> Answer:
    return Answer(call.twin.render.message(message))


async def execute(call: Call) -> Answer:
    """POST /webhooks/{w}/{t}: a follow-up, or a message of a webhook."""
    interaction = _interaction(call)
    if interaction is not None:
        return _rendered(call, follow_up(call, interaction))
    webhook = _webhook(call)
    payload = call.form()
    form = Form()
    name = form.text(("username",), payload.get("username"), low=1, high=80) or webhook.name
    form.check()
    channel = call.twin.world.channel(int(call.query.get("thread_id") or webhook.channel_id))
    draft = messages.read(call.twin, Body(payload=payload, channel=channel, files=call.files))
    own = webhook.creator.id == call.twin.world.bot.id
    message = messages.post(
        call.twin, draft, channel, webhook.creator, webhook_id=webhook.id, webhook_name=name,
        application_id=call.twin.world.application.id if own else None,
    )  # fmt: skip
    wait = call.query.get("wait", "").lower() in ("1", "true")
    return _rendered(call, message) if wait else Answer(status=204)


def follow_up(call: Call, interaction: Interaction) -> Message:
    """A follow-up; the first one after a deferral becomes the loading message, whose visibility is already decided."""
    interactions = call.twin.interactions
    loading = call.twin.world.find_message(interaction.original_id or 0)
    payload = call.form()
    if loading is not None and loading.flags & model.LOADING:
        payload = {key: value for key, value in payload.items() if key != "flags"} | _lasting(payload)
        return interactions.edit(interaction, loading, payload, call)
    draft = messages.read(call.twin, interactions.body(interaction, payload, call))
    message = interactions.send(interaction, draft)
    interaction.followups.append(message.id)
    interactions.changed(interaction)
    return message


def _lasting(payload: dict[str, Any]) -> dict[str, Any]:
    flags = payload.get("flags")
    return {} if not isinstance(flags, int) else {"flags": flags & messages.EDIT_FLAGS}


def _own_message(call: Call, webhook: Webhook) -> Message:
    message = call.twin.world.find_message(call.id("message_id", 10008))
    if message is None or message.webhook_id != webhook.id:
        raise DiscordError(10008)
    return message


async def fetch_message(call: Call) -> Answer:
    """GET /webhooks/{w}/{t}/messages/{m}."""
    interaction = _interaction(call)
    if interaction is not None:
        return _rendered(call, call.twin.interactions.own_message(interaction, call.params["message_id"]))
    return _rendered(call, _own_message(call, _webhook(call)))


async def edit_message(call: Call) -> Answer:
    """PATCH /webhooks/{w}/{t}/messages/{m}."""
    interaction = _interaction(call)
    if interaction is not None:
        message = call.twin.interactions.own_message(interaction, call.params["message_id"])
        return _rendered(call, call.twin.interactions.edit(interaction, message, call.form(), call))
    message = _own_message(call, _webhook(call))
    channel = call.twin.world.channel(message.channel_id)
    draft = messages.read(call.twin, Body(payload=call.form(), channel=channel, files=call.files, old=message))
    return _rendered(call, messages.change(call.twin, message, draft))


async def delete_message(call: Call) -> Answer:
    """DELETE /webhooks/{w}/{t}/messages/{m}."""
    interaction = _interaction(call)
    if interaction is not None:
        messages.remove(call.twin, call.twin.interactions.own_message(interaction, call.params["message_id"]))
        call.twin.interactions.changed(interaction)
    else:
        messages.remove(call.twin, _own_message(call, _webhook(call)))
    return Answer(status=204)


async def create(call: Call) -> Answer:
    """POST /channels/{c}/webhooks."""
    twin, world = call.twin, call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    world.require(channel, permissions.MANAGE_WEBHOOKS)
    form = Form()
    name = form.text(("name",), call.form().get("name"), low=1, high=80, required=True) or ""
    if "clyde" in name.lower() or "discord" in name.lower():
        form.add(("name",), "USERNAME_INVALID_CONTAINS", "Username cannot contain that word")
    form.check()
    if sum(w.channel_id == channel.id for w in world.webhooks.values()) >= MOST_WEBHOOKS:
        raise DiscordError(30007)
    webhook = Webhook(
        id=twin.ids.next(), channel_id=channel.id, guild_id=channel.guild_id or 0, name=name,
        token=secrets.token_urlsafe(51), creator=world.bot,
    )  # fmt: skip
    world.webhooks[webhook.id] = webhook
    twin.announce.webhooks(channel)
    return Answer(twin.render.webhook(webhook))


async def of_channel(call: Call) -> Answer:
    """GET /channels/{c}/webhooks."""
    world = call.twin.world
    channel = world.channel(call.id("channel_id", 10003))
    world.require(channel, permissions.MANAGE_WEBHOOKS)
    return Answer([call.twin.render.webhook(w) for w in world.webhooks.values() if w.channel_id == channel.id])


def _managed(call: Call) -> Webhook:
    webhook = _webhook(call)
    if "token" not in call.params:
        call.twin.world.require(call.twin.world.channel(webhook.channel_id), permissions.MANAGE_WEBHOOKS)
    return webhook


async def fetch(call: Call) -> Answer:
    """GET /webhooks/{w} and /webhooks/{w}/{t}."""
    return Answer(call.twin.render.webhook(_managed(call)))


async def edit(call: Call) -> Answer:
    """PATCH /webhooks/{w} and /webhooks/{w}/{t}."""
    webhook = _managed(call)
    form = Form()
    name = form.text(("name",), call.form().get("name"), low=1, high=80)
    form.check()
    webhook.name = name or webhook.name
    call.twin.announce.webhooks(call.twin.world.channel(webhook.channel_id))
    return Answer(call.twin.render.webhook(webhook))


async def delete(call: Call) -> Answer:
    """DELETE /webhooks/{w} and /webhooks/{w}/{t}."""
    webhook = _managed(call)
    del call.twin.world.webhooks[webhook.id]
    call.twin.announce.webhooks(call.twin.world.channel(webhook.channel_id))
    return Answer(status=204)


def serve(routes: Routes) -> None:
    """Add the routes."""
    routes.add("POST", "/interactions/{interaction_id}/{token}/callback", callback, token=True)
    routes.add("POST", "/webhooks/{webhook_id}/{token}", execute, token=True)
    one = "/webhooks/{webhook_id}/{token}/messages/{message_id}"
    routes.add("GET", one, fetch_message, token=True)
    routes.add("PATCH", one, edit_message, token=True)
    routes.add("DELETE", one, delete_message, token=True)
    routes.add("POST", "/channels/{channel_id}/webhooks", create)
    routes.add("GET", "/channels/{channel_id}/webhooks", of_channel)
    for template, token in (("/webhooks/{webhook_id}", False), ("/webhooks/{webhook_id}/{token}", True)):
        routes.add("GET", template, fetch, token=token)
        routes.add("PATCH", template, edit, token=token)
        routes.add("DELETE", template, delete, token=token)
