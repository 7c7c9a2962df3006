"""Application commands: what a sync may contain, and whether a member may use one.

Source: developer docs, interactions/application-commands.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from rehearsal import permissions
from rehearsal.errors import DiscordError, Form
from rehearsal.model import Channel, Guild

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]
Path = tuple[str | int, ...]

SLASH, USER, MESSAGE = 1, 2, 3
SUB, GROUP, STRING, INTEGER, BOOLEAN, USER_OPTION, CHANNEL, ROLE, MENTIONABLE, NUMBER, FILE = range(1, 12)
MOST = {SLASH: 100, USER: 15, MESSAGE: 15}
MOST_CHARACTERS = 8000
_NAME = re.compile(r"^[-_'\w]{1,32}$", re.UNICODE)
LOCALES = frozenset(
    [
        "id",
        "da",
        "de",
        "en-GB",
        "en-US",
        "es-ES",
        "es-419",
        "fr",
        "hr",
        "it",
        "lt",
        "hu",
        "nl",
        "no",
        "pl",
        "pt-BR",
        "ro",
        "fi",
        "sv-SE",
        "vi",
        "tr",
        "cs",
        "el",
        "bg",
        "ru",
        "uk",
        "hi",
        "th",
        "zh-CN",
        "ja",
        "zh-TW",
        "ko",
    ]
)
_DAY = 86_400


def sync(twin: Twin, scope: int | None, given: list[Any]) -> list[Json]:
    """Replace a scope's commands. Raises 50035, 30032, 30034."""
    form = Form()
    for i, command in enumerate(given):
        _command(form, (i,), command)
    form.check()
    for kind, most in MOST.items():
        if sum(1 for c in given if c.get("type", SLASH) == kind) > most:
            raise DiscordError(30032)
    keys = [(c["name"], c.get("type", SLASH)) for c in given]
    if len(set(keys)) != len(keys):
        form.add((len(keys) - 1, "name"), "APPLICATION_COMMANDS_DUPLICATE_NAME", "Option names must be unique")
        form.check()
    known = {(c["name"], c["type"]): c for c in twin.world.application.commands.get(scope, [])}
    _quota(twin, scope, sum(key not in known for key in keys))
    stored = [_stored(twin, scope, c, known.get(key)) for c, key in zip(given, keys, strict=True)]
    twin.world.application.commands[scope] = stored
    twin.announce.commands(scope)
    return stored


def _quota(twin: Twin, scope: int | None, new: int) -> None:
    """200 creates a day and guild; a name that exists is free."""
    guild = twin.world.guilds.get(scope or 0)
    now = twin.clock.now()
    made = [] if guild is None else [at for at in guild.command_creates if at > now - _DAY]
    if twin.faults.take("quota_commands") or len(made) + new > twin.config.daily_commands:
        raise DiscordError(30034)
    if guild is not None:
        guild.command_creates = made + [now] * new


def _stored(twin: Twin, scope: int | None, command: Json, known: Json | None) -> Json:
    body: Json = {
        "id": known["id"] if known else str(twin.ids.next()),
        "application_id": str(twin.world.application.id),
        "version": str(twin.ids.next()),
        "type": command.get("type", SLASH),
        "name": command["name"],
        "name_localizations": command.get("name_localizations"),
        "description": command.get("description") or "",
        "description_localizations": command.get("description_localizations"),
        "default_member_permissions": _bits(command.get("default_member_permissions")),
        "nsfw": command.get("nsfw") is True,
        "integration_types": command.get("integration_types") or [0],
        "contexts": command.get("contexts"),
    }
    if scope is None:
        body["dm_permission"] = command.get("dm_permission") is not False
    else:
        body["guild_id"] = str(scope)
    if command.get("options"):
        body["options"] = command["options"]
    return body


def _bits(value: Any) -> str | None:
    return None if value is None else str(value)


def _name(form: Form, path: Path, value: Any, *, free: bool) -> None:
    name = form.text(path, value, low=1, high=32, required=True)
    if name and not free and (not _NAME.match(name) or name != name.lower()):
        words = "Command name is invalid"
        form.add(path, "APPLICATION_COMMAND_INVALID_NAME", words)


def _translations(form: Form, path: Path, value: Any, high: int) -> int:
    if value is None:
        return 0
    if not isinstance(value, dict):
        form.add(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return 0
    for locale, text in value.items():
        if locale not in LOCALES:
            form.add((*path, locale), "BASE_TYPE_CHOICES", f"{locale!r} is not a locale of Discord.")
        form.text((*path, locale), text, low=1, high=high)
    return max((len(str(text)) for text in value.values()), default=0)


def _described(form: Form, path: Path, node: Json, *, free: bool) -> int:
    """Name and description with their translations; the characters they count."""
    _name(form, (*path, "name"), node.get("name"), free=free)
    size = max(
        len(str(node.get("name"))),
        _translations(form, (*path, "name_localizations"), node.get("name_localizations"), 32),
    )
    if free:
        return size
    form.text((*path, "description"), node.get("description"), low=1, high=100, required=True)
    longest = _translations(form, (*path, "description_localizations"), node.get("description_localizations"), 100)
    return size + max(len(str(node.get("description"))), longest)


def _command(form: Form, path: Path, command: Any) -> None:
    if not isinstance(command, dict):
        form.add(path, "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return
    kind = command.get("type", SLASH)
    if not isinstance(kind, int) or kind not in MOST:
        form.add((*path, "type"), "BASE_TYPE_CHOICES", "Value must be one of (1, 2, 3).")
        return
    size = _described(form, path, command, free=kind != SLASH)
    if kind != SLASH:
        if command.get("description"):
            words = "Context menu commands cannot have description"
            form.add((*path, "description"), "APPLICATION_COMMAND_CONTEXT_MENU_DESCRIPTION_INVALID", words)
        return
    size += _options(form, path, command.get("options"), (SUB, GROUP), top=True)
    if size > MOST_CHARACTERS:
        words = f"Command exceeds maximum size ({MOST_CHARACTERS})"
        form.add(path, "APPLICATION_COMMAND_TOO_LARGE", words)


def _options(form: Form, path: Path, value: Any, nested: tuple[int, ...], *, top: bool = False) -> int:
    given = [o if isinstance(o, dict) else {} for o in form.items((*path, "options"), value, high=25)]
    size, optional, names = 0, False, set()
    for i, option in enumerate(given):
        at = (*path, "options", i)
        size += _option(form, at, option, nested)
        if str(option.get("name")) in names:
            form.add((*at, "name"), "APPLICATION_COMMAND_OPTIONS_NAME_INVALID", "Option names must be unique")
        names.add(str(option.get("name")))
        if option.get("required") and optional:
            words = "Required options must be placed before non-required options"
            form.add(at, "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID", words)
        optional = optional or not option.get("required")
    kinds = {o.get("type") in (SUB, GROUP) for o in given}
    if top and len(kinds) == 2:
        words = "Sub-command and sub-command group option types are mutually exclusive to all other types"
        form.add((*path, "options"), "APPLICATION_COMMAND_OPTIONS_TYPE_INVALID", words)
    return size


def _option(form: Form, path: Path, option: Json, nested: tuple[int, ...]) -> int:
    kind = option.get("type")
    if not isinstance(kind, int) or not (STRING <= kind <= FILE or kind in nested):
        form.add((*path, "type"), "BASE_TYPE_CHOICES", "Value must be one of the option types allowed here.")
        return 0
    size = _described(form, path, option, free=False)
    if kind in (SUB, GROUP):
        return size + _options(form, path, option.get("options"), (SUB,) if kind == GROUP else ())
    choices = form.items((*path, "choices"), option.get("choices"), high=25)
    if option.get("autocomplete") and choices:
        words = "Autocomplete and choices are mutually exclusive"
        form.add((*path, "autocomplete"), "APPLICATION_COMMAND_OPTIONS_AUTOCOMPLETE_INVALID", words)
    for i, choice in enumerate(choices):
        size += _choice(form, (*path, "choices", i), choice if isinstance(choice, dict) else {}, kind)
    if kind == STRING:
        form.number((*path, "min_length"), option.get("min_length"), low=0, high=6000)
        form.number((*path, "max_length"), option.get("max_length"), low=1, high=6000)
    return size


def _choice(form: Form, path: Path, choice: Json, kind: int) -> int:
    form.text((*path, "name"), choice.get("name"), low=1, high=100, required=True)
    value = choice.get("value")
    if kind == STRING:
        form.text((*path, "value"), value, low=1, high=100, required=True)
    elif isinstance(value, bool) or not isinstance(value, int | float):
        form.add((*path, "value"), "NUMBER_TYPE_COERCE", f'Value "{value}" is not a number.')
    longest = _translations(form, (*path, "name_localizations"), choice.get("name_localizations"), 100)
    return max(len(str(choice.get("name"))), longest) + len(str(value))


def visible(twin: Twin, guild_id: int | None) -> list[Json]:
    """Commands that exist in a guild (its own and the global ones) or in the DM."""
    known = twin.world.application.commands
    return [*known.get(None, []), *([] if guild_id is None else known.get(guild_id, []))]


def refusal(twin: Twin, command: Json, user_id: int, channel: Channel) -> str | None:
    """Why a member may not use a command in a channel; None when they may."""
    contexts = command.get("contexts")
    guild = twin.world.guild_of(channel)
    if guild is None:
        allowed = 1 in contexts if contexts is not None else command.get("dm_permission", False)
        return None if allowed else "That command cannot be used in direct messages."
    if contexts is not None and 0 not in contexts:
        return "That command cannot be used in servers."
    if not twin.world.permissions(user_id, channel) & permissions.USE_COMMANDS:
        return "You do not have permission to use commands in this channel."
    return _default_refusal(command, guild, user_id)


def _default_refusal(command: Json, guild: Guild, user_id: int) -> str | None:
    needed = command.get("default_member_permissions")
    bits = permissions.in_guild(guild, guild.members[user_id])
    if needed is None or bits & permissions.ADMINISTRATOR:
        return None
    if int(needed) == 0 or int(needed) & ~bits:
        return "You do not have permission to use that command."
    return None
