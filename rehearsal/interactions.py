"""Interactions: made by members, answered within three seconds, open through their token for fifteen minutes."""

from __future__ import annotations

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal import messages, modals, model
from rehearsal.api import Answer, Call
from rehearsal.errors import DiscordError, Form, snowflake, whole
from rehearsal.messages import Body
from rehearsal.model import Channel, Message, User

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]

COMMAND, COMPONENT, AUTOCOMPLETE, MODAL = 2, 3, 4, 5
KEPT = 5_000
CALLBACK_FLAGS = messages.CREATE_FLAGS | model.EPHEMERAL
REPLY, DEFER, DEFER_UPDATE, UPDATE, CHOICES, OPEN_MODAL = 4, 5, 6, 7, 8, 9


@dataclass(kw_only=True)
class Interaction:
    """One interaction and everything that came of it."""

    id: int
    token: str
    kind: str
    type: int
    name: str
    user_id: int
    guild_id: int | None
    channel_id: int
    created_at: float
    message_id: int | None = None
    command_type: int = 1
    state: str = "waiting"
    acked_after_ms: float | None = None
    callback_type: int | None = None
    ephemeral: bool = False
    original_id: int | None = None
    followups: list[int] = field(default_factory=list)
    choices: list[Json] | None = None
    modal: Json | None = None
    modal_used: bool = False
    trigger: Json | None = None
    refused: list[Json] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def acked(self) -> bool:
        """Whether the bot acknowledged in time."""
        return self.state == "acked"

    def mark(self) -> None:
        """Something changed: wake whoever waits."""
        self.changed.set()
        self.changed = asyncio.Event()

    def summary(self) -> Json:
        """What messages keep of it."""
        return {
            "id": self.id, "type": self.type, "user_id": self.user_id, "guild_id": self.guild_id, "name": self.name,
            "command_type": self.command_type, "message_id": self.message_id, "trigger": self.trigger,
        }  # fmt: skip


def legal(interaction: Interaction) -> set[int]:
    """The callback types that interaction may be answered with."""
    if interaction.type == AUTOCOMPLETE:
        return {CHOICES}
    kinds = {REPLY, DEFER}
    if interaction.message_id is not None:
        kinds |= {DEFER_UPDATE, UPDATE}
    if interaction.type != MODAL:
        kinds.add(OPEN_MODAL)
    return kinds


class Interactions:
    """All interactions of the run, by id and by token."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._by_id: OrderedDict[int, Interaction] = OrderedDict()
        self._by_token: dict[str, Interaction] = {}

    def __iter__(self) -> Any:
        return iter(self._by_id.values())

    def get(self, interaction_id: int) -> Interaction | None:
        """By id."""
        return self._by_id.get(interaction_id)

    def begin(self, kind: str, type_: int, name: str, user: User, channel: Channel, data: Json, **more: Any) -> Interaction:
        """A member did something: tell the bot, and start the three seconds."""
        twin = self._twin
        interaction = Interaction(
            id=twin.ids.next(), token=secrets.token_urlsafe(64), kind=kind, type=type_, name=name, user_id=user.id,
            guild_id=channel.guild_id, channel_id=channel.id, created_at=twin.clock.now(), **more,
        )  # fmt: skip
        self._by_id[interaction.id] = interaction
        self._by_token[interaction.token] = interaction
        while len(self._by_id) > KEPT:
            _, old = self._by_id.popitem(last=False)
            self._by_token.pop(old.token, None)
        body = self._payload(interaction, user, channel, data)
        twin.announce.interaction("INTERACTION_CREATE", interaction)
        twin.gateway.dispatch("INTERACTION_CREATE", body, guild_id=channel.guild_id)
        twin.clock.call_later(twin.config.interaction_deadline, lambda: self._expire(interaction))
        return interaction

    def _payload(self, interaction: Interaction, user: User, channel: Channel, data: Json) -> Json:
        twin, render = self._twin, self._twin.render
        body: Json = {
            "id": str(interaction.id),
            "application_id": str(twin.world.application.id),
            "type": interaction.type,
            "token": interaction.token,
            "version": 1,
            "data": data,
            "channel_id": str(channel.id),
            "channel": render.partial_channel(channel, user.id),
            "app_permissions": render.app_permissions(channel),
            "locale": user.locale,
            "entitlements": [],
            "entitlement_sku_ids": [],
            "attachment_size_limit": twin.file_limit(channel.guild_id),
            "authorizing_integration_owners": {"0": str(channel.guild_id or 0)},
            "context": 1 if channel.guild_id is None else 0,
        }
        source = twin.world.find_message(interaction.message_id or 0)
        if source is not None:
            body["message"] = render.message(source)
        guild = twin.world.guild_of(channel)
        if guild is None:
            return body | {"user": render.user(user)}
        member = render.member(guild.members[user.id])
        member["permissions"] = str(twin.world.permissions(user.id, channel))
        short = {"id": str(guild.id), "locale": guild.locale, "features": []}
        return body | {"guild_id": str(guild.id), "guild": short, "guild_locale": guild.locale, "member": member}

    def _expire(self, interaction: Interaction) -> None:
        if interaction.state == "waiting":
            interaction.state = "failed"
            self.changed(interaction, "INTERACTION_FAILED")

    def changed(self, interaction: Interaction, name: str = "INTERACTION_UPDATE") -> None:
        """Tell its user, and whoever waits for it."""
        self._twin.announce.interaction(name, interaction)
        interaction.mark()

    async def wait(self, interaction: Interaction, what: str, timeout_s: float) -> None:
        """Until it is acknowledged (`ack`) or there is something to read (`answer`), or it failed, or time is up."""
        ready: Callable[[Interaction], bool] = self._answered if what == "answer" else _settled
        try:
            async with asyncio.timeout(timeout_s):
                while not ready(interaction):
                    await interaction.changed.wait()
        except TimeoutError:
            return

    def _answered(self, interaction: Interaction) -> bool:
        if interaction.state != "acked":
            return interaction.state == "failed"
        original = self._twin.world.find_message(interaction.original_id or 0)
        return original is None or not original.flags & model.LOADING

    def by_token(self, token: str) -> Interaction:
        """The interaction a webhook token belongs to. Raises 50027 when it is unknown or over, 10015 before the ack."""
        interaction = self._by_token.get(token)
        if interaction is None or self._twin.faults.take("token_expired"):
            raise DiscordError(50027)
        if self._twin.clock.now() > interaction.created_at + self._twin.config.token_life:
            raise DiscordError(50027)
        if not interaction.acked:
            raise DiscordError(10015)
        return interaction

    def own_message(self, interaction: Interaction, which: str) -> Message:
        """A message that token may touch: `@original`, the source, or a follow-up."""
        wanted = interaction.original_id if which == "@original" else snowflake(which, 10008)
        if wanted not in (interaction.original_id, interaction.message_id, *interaction.followups):
            raise DiscordError(10008)
        message = self._twin.world.find_message(wanted or 0)
        if message is None:
            raise DiscordError(10008)
        return message

    def body(self, interaction: Interaction, payload: Json, call: Call, old: Message | None = None) -> Body:
        """A message body that goes out through this interaction."""
        channel = self._twin.world.channel(interaction.channel_id)
        hidden = old.ephemeral_for is not None if old is not None else bool(whole(payload.get("flags")) & model.EPHEMERAL)
        return Body(payload=payload, channel=channel, files=call.files, old=old, ephemeral=hidden, flags=CALLBACK_FLAGS)

    def send(self, interaction: Interaction, draft: messages.Draft, *, loading: bool = False) -> Message:
        """A new message through this interaction."""
        channel = self._twin.world.channel(interaction.channel_id)
        hidden = bool(draft.flags & model.EPHEMERAL)
        if loading:
            draft.flags |= model.LOADING
        first = interaction.original_id is None and interaction.type == COMMAND
        kind = (20 if interaction.command_type == 1 else 23) if first else 0
        app = self._twin.world.application.id
        return messages.post(
            self._twin, draft, channel, self._twin.world.bot, type=kind, webhook_id=app, application_id=app,
            interaction=interaction.summary(), ephemeral_for=interaction.user_id if hidden else None,
        )  # fmt: skip

    def edit(self, interaction: Interaction, message: Message, payload: Json, call: Call) -> Message:
        """Edit through the token; a loading message becomes what it was waiting for and counts as unedited."""
        draft = messages.read(self._twin, self.body(interaction, payload, call, old=message))
        was_loading = bool(message.flags & model.LOADING)
        draft.flags = draft.flags & ~model.LOADING | message.flags & model.EPHEMERAL
        if was_loading:
            message.flags &= ~model.LOADING
        messages.change(self._twin, message, draft)
        if was_loading:
            message.edited_at = None
        self.changed(interaction)
        return message


def _settled(interaction: Interaction) -> bool:
    return interaction.state != "waiting"


async def callback(call: Call) -> Answer:
    """POST /interactions/{id}/{token}/callback."""
    interactions = call.twin.interactions
    interaction = interactions.get(call.id("interaction_id", 10062))
    if interaction is None or not secrets.compare_digest(interaction.token, call.params["token"]):
        raise DiscordError(10062)
    try:
        message = _apply(call, interaction)
    except DiscordError as error:
        interaction.refused.append({"code": error.code, "status": error.status, "message": error.message})
        interactions.changed(interaction)
        raise
    if call.query.get("with_response", "").lower() not in ("1", "true"):
        return Answer(status=204)
    return Answer(_response(call, interaction, message))


def _kind(interaction: Interaction, kind: Any) -> int:
    if isinstance(kind, int) and kind in legal(interaction):
        return kind
    form = Form()
    choices = ", ".join(str(k) for k in sorted(legal(interaction)))
    form.add(("type",), "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")
    raise DiscordError(50035, errors=form.errors)


def _apply(call: Call, interaction: Interaction) -> Message | None:
    if interaction.state == "failed":
        raise DiscordError(10062)
    if interaction.acked:
        raise DiscordError(40060)
    payload = call.form()
    kind = _kind(interaction, payload.get("type"))
    data = payload.get("data")
    if data is not None and not isinstance(data, dict):
        raise DiscordError(50035)
    if data is None and kind in (REPLY, UPDATE, CHOICES, OPEN_MODAL):
        form = Form()
        form.add(("data",), "BASE_TYPE_REQUIRED", "This field is required")
        form.check()
    message = _ANSWERS[kind](call, interaction, data or {})
    now = call.twin.clock.now()
    interaction.state = "acked"
    interaction.callback_type = kind
    interaction.acked_after_ms = round((now - interaction.created_at) * 1000, 3)
    call.twin.interactions.changed(interaction, "INTERACTION_ACK")
    if kind == OPEN_MODAL:
        call.twin.announce.interaction("MODAL_OPEN", interaction)
    return message


def _reply(call: Call, interaction: Interaction, data: Json) -> Message:
    interactions = call.twin.interactions
    draft = messages.read(call.twin, interactions.body(interaction, data, call))
    interaction.ephemeral = bool(draft.flags & model.EPHEMERAL)
    message = interactions.send(interaction, draft)
    interaction.original_id = message.id
    return message


def _defer(call: Call, interaction: Interaction, data: Json) -> Message:
    hidden = whole(data.get("flags")) & model.EPHEMERAL
    draft = messages.Draft(content="", embeds=[], components=[], attachments=[], flags=hidden, allowed=None)
    interaction.ephemeral = bool(hidden)
    message = call.twin.interactions.send(interaction, draft, loading=True)
    interaction.original_id = message.id
    return message


def _source(call: Call, interaction: Interaction) -> Message:
    message = call.twin.world.find_message(interaction.message_id or 0)
    if message is None:
        raise DiscordError(10008)
    return message


def _defer_update(call: Call, interaction: Interaction, data: Json) -> None:
    source = _source(call, interaction)
    interaction.original_id = source.id
    interaction.ephemeral = source.ephemeral_for is not None


def _update(call: Call, interaction: Interaction, data: Json) -> Message:
    source = _source(call, interaction)
    call.twin.interactions.edit(interaction, source, data, call)
    interaction.original_id = source.id
    interaction.ephemeral = source.ephemeral_for is not None
    return source


def _choices(call: Call, interaction: Interaction, data: Json) -> None:
    form = Form()
    given = form.items(("data", "choices"), data.get("choices"), high=25, required=True)
    for i, choice in enumerate(given):
        choice = choice if isinstance(choice, dict) else {}
        form.text(("data", "choices", i, "name"), choice.get("name"), low=1, high=100, required=True)
        value = choice.get("value")
        if isinstance(value, str) or value is None:
            form.text(("data", "choices", i, "value"), value, low=1, high=100, required=True)
    form.check()
    interaction.choices = [{"name": c["name"], "value": c["value"]} for c in given]


def _open_modal(call: Call, interaction: Interaction, data: Json) -> None:
    interaction.modal = modals.validate(data)


_ANSWERS: dict[int, Callable[[Call, Interaction, Json], Message | None]] = {
    REPLY: _reply,
    DEFER: _defer,
    DEFER_UPDATE: _defer_update,
    UPDATE: _update,
    CHOICES: _choices,
    OPEN_MODAL: _open_modal,
}


def _response(call: Call, interaction: Interaction, message: Message | None) -> Json:
    told: Json = {"id": str(interaction.id), "type": interaction.type}
    if message is not None:
        told |= {
            "response_message_id": str(message.id),
            "response_message_loading": bool(message.flags & model.LOADING),
            "response_message_ephemeral": bool(message.flags & model.EPHEMERAL),
        }
    body: Json = {"interaction": told}
    if interaction.callback_type in (REPLY, UPDATE) and message is not None:
        body["resource"] = {"type": interaction.callback_type, "message": call.twin.render.message(message)}
    return body
