"""A small world to begin with."""

from __future__ import annotations

from rehearsal import model, permissions
from rehearsal.model import Channel, Guild, Overwrite
from rehearsal.twin import Twin

PLAYERS = (
    ("ada", "Ada", "en-US"),
    ("bruno", "Bruno", "es-ES"),
    ("chen", "Chen", "en-US"),
    ("dana", "Dana", "en-US"),
    ("eli", "Eli", "en-US"),
    ("fay", "Fay", "en-US"),
)


def plant(twin: Twin, name: str | None) -> None:
    """Make the world called `name`. Raises ValueError for an unknown one."""
    if name is None:
        return
    if name != "demo":
        raise ValueError(f"There is no seed {name!r}; there is: demo.")
    world = twin.world
    olga = world.add_user("olga", global_name="Olga")
    guild = world.add_guild("The rehearsal", olga)
    staff = world.add_role(guild, "Staff", permissions.MANAGE_GUILD | permissions.MANAGE_MESSAGES, color=0xE8A33D)
    world.invite_bot(guild, permissions.BOT_DEFAULT)
    world.join(guild, world.add_user("mara", global_name="Mara"), [staff.id])
    for username, shown, locale in PLAYERS:
        world.join(guild, world.add_user(username, global_name=shown, locale=locale))
    _channels(twin, guild, staff.id)


def _channels(twin: Twin, guild: Guild, staff: int) -> None:
    closed = [
        Overwrite(id=guild.id, type=0, deny=permissions.VIEW),
        Overwrite(id=staff, type=0, allow=permissions.VIEW | permissions.SEND | permissions.HISTORY),
    ]
    category = _channel(twin, guild, "Rooms", kind=model.CATEGORY)
    _channel(twin, guild, "welcome", parent=category.id, topic="Say hello.")
    _channel(twin, guild, "gallery", parent=category.id)
    _channel(twin, guild, "staff", parent=category.id, overwrites=closed)


def _channel(
    twin: Twin, guild: Guild, name: str, *, kind: int = model.TEXT, parent: int | None = None,
    topic: str | None = None, overwrites: list[Overwrite] | None = None,
) -> Channel:  # fmt: skip
    channel = Channel(
        id=twin.ids.next(), type=kind, guild_id=guild.id, name=name, parent_id=parent, topic=topic,
        position=len(twin.world.guild_channels(guild.id)), overwrites=overwrites or [],
    )  # fmt: skip
    twin.world.channels[channel.id] = channel
    return channel
