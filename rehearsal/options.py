"""A member's answers to a slash command's options, checked as Discord's client checks them before it sends anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal import commands
from rehearsal.control import Ask, Refused
from rehearsal.errors import is_id
from rehearsal.files import Upload
from rehearsal.model import Attachment, Channel, Guild, User

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]
MOST_INTEGER = 2**53
LONGEST_STRING = 6000


def bad(name: str, words: str) -> Refused:
    """A refusal of one option."""
    return Refused(400, "bad_option", f"The option {name!r} {words}")


@dataclass(slots=True)
class Filling:
    """One command being filled in: who does it, where, and what its values refer to."""

    ask: Ask
    user: User
    channel: Channel
    resolved: dict[str, Json] = field(default_factory=dict)

    @property
    def twin(self) -> Twin:
        """The twin."""
        return self.ask.twin

    @property
    def guild(self) -> Guild | None:
        """Where."""
        return self.twin.world.guild_of(self.channel)

    def mention_user(self, name: str, value: Any) -> str:
        """A user by id or name, told in `resolved`."""
        user = self.twin.world.find_user(value)
        if user is None:
            raise bad(name, f"takes a user, and nobody is called {value!r}.")
        self.resolved.setdefault("users", {})[str(user.id)] = self.twin.render.user(user)
        guild = self.guild
        if guild is not None and user.id in guild.members:
            body = self.twin.render.member(guild.members[user.id], with_user=False)
            body["permissions"] = str(self.twin.world.permissions(user.id, self.channel))
            self.resolved.setdefault("members", {})[str(user.id)] = body
        return str(user.id)

    def mention_role(self, name: str, value: Any) -> str:
        """A role by id."""
        guild = self.guild
        role = guild.roles.get(int(value)) if guild is not None and is_id(value) else None
        if role is None:
            raise bad(name, f"takes a role, and {value!r} is none.")
        self.resolved.setdefault("roles", {})[str(role.id)] = self.twin.render.role(role)
        return str(role.id)

    def mention_channel(self, name: str, value: Any, kinds: list[int]) -> str:
        """A channel by id that the member sees."""
        channel = self.twin.world.channels.get(int(value)) if is_id(value) else None
        if channel is None or not self.twin.world.sees(self.user.id, channel) or (kinds and channel.type not in kinds):
            raise bad(name, f"takes a channel that {self.user.username} sees, and {value!r} is none.")
        body = self.twin.render.partial_channel(channel, self.user.id)
        self.resolved.setdefault("channels", {})[str(channel.id)] = body
        return str(channel.id)

    def attach(self, name: str, value: Any) -> str:
        """An upload of this member, as an ephemeral attachment."""
        upload = own_upload(self.ask, self.user, value, self.channel)
        attachment = Attachment(
            id=self.twin.ids.next(), channel_id=self.channel.id, filename=upload.filename, size=upload.size,
            content_type=upload.content_type, digest=upload.digest, width=upload.width, height=upload.height,
            ephemeral=True,
        )  # fmt: skip
        self.twin.world.attachments[attachment.id] = attachment
        self.resolved.setdefault("attachments", {})[str(attachment.id)] = self.twin.render.attachment(attachment)
        return str(attachment.id)


def own_upload(ask: Ask, user: User, upload_id: Any, channel: Channel) -> Upload:
    """An upload that user made, small enough for that channel."""
    owner, upload = ask.twin.uploads.get(str(upload_id), (None, None))
    if upload is None or owner != user.id:
        raise Refused(404, "not_found", f"{user.username} has not uploaded {upload_id!r}.")
    limit = ask.twin.file_limit(channel.guild_id)
    if upload.size > limit:
        raise Refused(413, "too_large", f"{upload.filename} has {upload.size} bytes; {limit} is the limit.")
    return upload


def _string(filling: Filling, option: Json, value: Any) -> str:
    name = option["name"]
    if not isinstance(value, str):
        raise bad(name, "takes text.")
    low, high = option.get("min_length") or 0, option.get("max_length") or LONGEST_STRING
    if not low <= len(value) <= high:
        raise bad(name, f"takes {low} to {high} characters, not {len(value)}.")
    return value


def _number(filling: Filling, option: Json, value: Any) -> int | float:
    name, whole = option["name"], option["type"] == commands.INTEGER
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise bad(name, "takes a whole number." if whole else "takes a number.")
    low = option.get("min_value")
    high = option.get("max_value")
    low, high = (-MOST_INTEGER if low is None else low), (MOST_INTEGER if high is None else high)
    if not low <= value <= high:
        raise bad(name, f"takes a number from {low} to {high}, not {value}.")
    return value


def _boolean(filling: Filling, option: Json, value: Any) -> bool:
    if not isinstance(value, bool):
        raise bad(option["name"], "takes true or false.")
    return value


def _mentionable(filling: Filling, option: Json, value: Any) -> str:
    guild = filling.guild
    if guild is not None and is_id(value) and int(value) in guild.roles:
        return filling.mention_role(option["name"], value)
    return filling.mention_user(option["name"], value)


_READERS: dict[int, Callable[[Filling, Json, Any], Any]] = {
    commands.STRING: _string,
    commands.INTEGER: _number,
    commands.NUMBER: _number,
    commands.BOOLEAN: _boolean,
    commands.USER_OPTION: lambda filling, option, value: filling.mention_user(option["name"], value),
    commands.ROLE: lambda filling, option, value: filling.mention_role(option["name"], value),
    commands.CHANNEL: lambda filling, option, value: filling.mention_channel(option["name"], value, option.get("channel_types") or []),
    commands.MENTIONABLE: _mentionable,
    commands.FILE: lambda filling, option, value: filling.attach(option["name"], value),
}


def fill(filling: Filling, known: list[Json], given: Json) -> list[Json]:
    """The `options` of the interaction. Raises Refused."""
    names = {o["name"] for o in known}
    strange = sorted(set(given) - names)
    if strange:
        has = ", ".join(o["name"] for o in known) or "none"
        raise Refused(400, "bad_option", f"The command has no option {strange[0]!r}; it has: {has}.")
    told: list[Json] = []
    for option in known:
        value = given.get(option["name"])
        if value is None or value == "":
            if option.get("required"):
                raise bad(option["name"], "is required.")
            continue
        value = _READERS[option["type"]](filling, option, value)
        choices = [c["value"] for c in option.get("choices") or []]
        if choices and value not in choices:
            raise bad(option["name"], f"takes one of {', '.join(str(c) for c in choices)}, not {value!r}.")
        told.append({"name": option["name"], "type": option["type"], "value": value})
    return told


def typed(known: list[Json], given: Json, focused: str) -> list[Json]:
    """The `options` while the member still types: partial, unchecked, one of them focused."""
    target = next((o for o in known if o["name"] == focused), None)
    if target is None or not target.get("autocomplete"):
        raise Refused(400, "bad_option", f"The option {focused!r} does not complete itself.")
    told: list[Json] = []
    for option in known:
        name = option["name"]
        if name == focused:
            text = given.get(name)
            told.append({"name": name, "type": option["type"], "value": "" if text is None else str(text), "focused": True})
        elif given.get(name) is not None:
            told.append({"name": name, "type": option["type"], "value": given[name]})
    return told


def descend(command: Json, words: list[str]) -> tuple[list[Json], list[Json]]:
    """The options of the sub-command that `words` name, and the sub-commands on the way, outermost first."""
    known: list[Json] = command.get("options") or []
    way: list[Json] = []
    for word in words:
        step = next((o for o in known if o["name"] == word and o["type"] in (commands.SUB, commands.GROUP)), None)
        if step is None:
            raise Refused(404, "not_synced", f"/{command['name']} has no sub-command {word!r}.")
        way.append(step)
        known = step.get("options") or []
    if any(o["type"] in (commands.SUB, commands.GROUP) for o in known):
        names = ", ".join(o["name"] for o in known)
        raise Refused(400, "bad_option", f"/{command['name']} needs a sub-command: {names}.")
    return known, way


def wrap(way: list[Json], told: list[Json]) -> list[Json]:
    """Put options into their sub-commands."""
    for step in reversed(way):
        told = [{"name": step["name"], "type": step["type"], "options": told}]
    return told
