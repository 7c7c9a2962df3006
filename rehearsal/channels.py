"""Guild channels: what a body may say, how names and overwrites are kept, what making, changing and deleting means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rehearsal import model, permissions
from rehearsal.errors import DiscordError, Form, is_id, snowflake
from rehearsal.model import Channel, Guild, Overwrite

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]

MOST_OVERWRITES = 1000
KINDS = frozenset({model.TEXT, model.VOICE, model.CATEGORY, model.NEWS, model.STAGE, model.FORUM})
_NOT_IN_A_NAME = re.compile(r"[\s!\"#$%&'()*+,./:;<=>?@\[\]^`{|}~\\]+")


def text_name(name: str) -> str:
    """A text channel's name as it is kept: lower case, blanks and punctuation as `-`."""
    return _NOT_IN_A_NAME.sub("-", name.strip().lower()).strip("-") or "channel"


def overwrites(form: Form, value: Any) -> list[Overwrite]:
    """Check `permission_overwrites`. The type counts: 0 role, 1 member; nothing is guessed from the id."""
    kept: dict[int, Overwrite] = {}
    given = form.items(("permission_overwrites",), value, high=10_000)
    if len(given) > MOST_OVERWRITES:
        raise DiscordError(30060)
    for i, entry in enumerate(given):
        path = ("permission_overwrites", i)
        entry = entry if isinstance(entry, dict) else {}
        kind = form.number((*path, "type"), entry.get("type"), low=0, high=1, required=True)
        allow = form.number((*path, "allow"), entry.get("allow", 0) or 0, low=0, high=1 << 62)
        deny = form.number((*path, "deny"), entry.get("deny", 0) or 0, low=0, high=1 << 62)
        if not is_id(entry.get("id", "")):
            form.add((*path, "id"), "BASE_TYPE_REQUIRED", "This field is required")
        elif kind is not None:
            kept[int(entry["id"])] = Overwrite(id=int(entry["id"]), type=kind, allow=allow or 0, deny=deny or 0)
    return list(kept.values())


def may_grant(twin: Twin, guild: Guild, before: list[Overwrite], after: list[Overwrite]) -> None:
    """50013 unless the bot holds in the guild every bit it changes; MANAGE_ROLES here needs administrator."""
    mine = permissions.in_guild(guild, guild.members[twin.world.bot.id])
    if mine & permissions.ADMINISTRATOR:
        return
    old = {o.id: o for o in before}
    changed = 0
    for overwrite in after:
        known = old.pop(overwrite.id, Overwrite(id=overwrite.id, type=overwrite.type))
        changed |= (known.allow ^ overwrite.allow) | (known.deny ^ overwrite.deny)
    for gone in old.values():
        changed |= gone.allow | gone.deny
    if changed & ~mine or changed & permissions.MANAGE_ROLES:
        raise DiscordError(50013)


def parent(twin: Twin, guild: Guild, form: Form, value: Any, *, channel_id: int | None = None) -> int | None:
    """Check `parent_id`: a category of this guild with fewer than 50 channels."""
    if value is None:
        return None
    parent_id = snowflake(value, 50035)
    category = twin.world.channels.get(parent_id)
    if category is None or category.guild_id != guild.id or category.type != model.CATEGORY:
        form.add(("parent_id",), "CHANNEL_PARENT_INVALID", "Category does not exist")
        return None
    children = [c for c in twin.world.guild_channels(guild.id) if c.parent_id == parent_id and c.id != channel_id]
    if len(children) >= twin.config.category_limit or twin.faults.take("category_full"):
        words = f"Maximum number of channels in category reached ({twin.config.category_limit})"
        form.add(("parent_id",), "CHANNEL_PARENT_MAX_CHANNELS", words)
    return parent_id


def create(
    twin: Twin, guild: Guild, payload: Json, *, by_bot: bool, tags: Sequence[str] = (), requires_tag: bool = False
) -> Channel:
    """Make a channel and announce it. Raises 30013, 30060, 50013, 50035."""
    form = Form()
    name = form.text(("name",), payload.get("name"), low=1, high=100, required=True) or ""
    topic = form.text(("topic",), payload.get("topic"), high=1024)
    kind = payload.get("type") or 0
    if not isinstance(kind, int) or kind not in KINDS:
        form.add(("type",), "BASE_TYPE_CHOICES", f"Value must be one of {sorted(KINDS)}.")
    slow = form.number(("rate_limit_per_user",), payload.get("rate_limit_per_user"), low=0, high=21_600)
    given = overwrites(form, payload.get("permission_overwrites"))
    parent_id = parent(twin, guild, form, payload.get("parent_id"))
    form.check()
    existing = twin.world.guild_channels(guild.id)
    if len(existing) >= twin.config.channel_limit or twin.faults.take("guild_full"):
        raise DiscordError(30013)
    if by_bot:
        may_grant(twin, guild, [], given)
    channel = Channel(
        id=twin.ids.next(), type=kind, guild_id=guild.id, name=_kept_name(kind, name), topic=topic, parent_id=parent_id,
        position=max((c.position for c in existing), default=-1) + 1, nsfw=payload.get("nsfw") is True,
        overwrites=given, rate_limit_per_user=slow or 0, tags={twin.ids.next(): name for name in tags},
        requires_tag=requires_tag,
    )  # fmt: skip
    twin.world.channels[channel.id] = channel
    twin.announce.channel_created(channel)
    return channel


def _kept_name(kind: int, name: str) -> str:
    return text_name(name) if kind in (model.TEXT, model.NEWS, model.FORUM) else name.strip()


def edit(twin: Twin, guild: Guild, channel: Channel, payload: Json, *, by_bot: bool) -> Channel:
    """Change a channel and announce it. Raises 50013, 50035."""
    form = Form()
    name = form.text(("name",), payload.get("name"), low=1, high=100)
    topic = form.text(("topic",), payload.get("topic"), high=1024)
    slow = form.number(("rate_limit_per_user",), payload.get("rate_limit_per_user"), low=0, high=21_600)
    place = form.number(("position",), payload.get("position"), low=0, high=10_000)
    given = overwrites(form, payload.get("permission_overwrites"))
    parent_id = parent(twin, guild, form, payload.get("parent_id"), channel_id=channel.id)
    form.check()
    if payload.get("permission_overwrites") is not None:
        if by_bot:
            may_grant(twin, guild, channel.overwrites, given)
        channel.overwrites = given
    if name:
        channel.name = _kept_name(channel.type, name)
    if "topic" in payload:
        channel.topic = topic
    if "parent_id" in payload:
        channel.parent_id = parent_id
    if payload.get("nsfw") is not None:
        channel.nsfw = payload["nsfw"] is True
    channel.rate_limit_per_user = channel.rate_limit_per_user if slow is None else slow
    channel.position = channel.position if place is None else place
    twin.announce.channel_updated(channel)
    return channel


def overwrite(twin: Twin, channel: Channel, entry: Overwrite) -> None:
    """Put one overwrite; one that neither allows nor denies is kept too, as Discord keeps it."""
    channel.overwrites = [o for o in channel.overwrites if o.id != entry.id] + [entry]
    twin.announce.channel_updated(channel)


def delete(twin: Twin, channel: Channel) -> None:
    """Delete a channel with its threads and webhooks; children of a category stay, without a parent."""
    world = twin.world
    saw = world.sees(world.bot.id, channel)
    for other in list(world.channels.values()):
        if other.is_thread and other.parent_id == channel.id:
            delete(twin, other)
    world.channels.pop(channel.id, None)
    for message_id in channel.messages:
        world.message_channel.pop(message_id, None)
        world.deleted[message_id] = channel.id
    for webhook in [w for w in world.webhooks.values() if w.channel_id == channel.id]:
        del world.webhooks[webhook.id]
    if channel.type == model.CATEGORY:
        for child in world.guild_channels(channel.guild_id or 0):
            if child.parent_id == channel.id:
                child.parent_id = None
                twin.announce.channel_updated(child)
    twin.announce.channel_deleted(channel, bot_saw=saw)
