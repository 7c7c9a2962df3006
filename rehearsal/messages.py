"""Messages made, edited and deleted: one way for the bot, its interactions, webhooks and the members."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rehearsal import components, embeds, model
from rehearsal.errors import DiscordError, Form, is_id
from rehearsal.files import Upload, plain_name
from rehearsal.model import Attachment, Channel, Message, User
from rehearsal.permissions import MENTION_EVERYONE

if TYPE_CHECKING:
    from rehearsal.twin import Twin

Json = dict[str, Any]

MOST_CONTENT = 2000
MOST_FILES = 10
MOST_NONCE = 25
CREATE_FLAGS = model.SUPPRESS_EMBEDS | model.SILENT | 8192 | model.V2
EDIT_FLAGS = model.SUPPRESS_EMBEDS | model.V2
_USER = re.compile(r"<@!?(\d{1,20})>")
_ROLE = re.compile(r"<@&(\d{1,20})>")


@dataclass(kw_only=True, slots=True)
class Draft:
    """A checked message body, before it becomes or changes a message."""

    content: str
    embeds: list[Json]
    components: list[Json]
    attachments: list[Attachment]
    flags: int
    allowed: Json | None
    nonce: str | int | None = None
    tts: bool = False
    reference: Json | None = None


@dataclass(kw_only=True, slots=True)
class Body:
    """What came in: the JSON, the files, and where it goes."""

    payload: Json
    channel: Channel
    files: dict[int, Upload] = field(default_factory=dict)
    ephemeral: bool = False
    flags: int = CREATE_FLAGS
    old: Message | None = None


def read(twin: Twin, body: Body) -> Draft:
    """Check a body as Discord does. Raises 50035, 50006, 30015, 40005."""
    form = Form()
    payload, old = body.payload, body.old
    flags = _flags(form, body)
    v2 = bool(flags & model.V2)
    content = form.text(("content",), payload.get("content"), high=MOST_CONTENT)
    if old is not None and "content" not in payload:
        content = old.content
    given_embeds = embeds.validate(form, payload.get("embeds"))
    given_components = components.validate(form, payload.get("components"), v2=v2)
    kept_embeds = old.embeds if old is not None and "embeds" not in payload else given_embeds
    kept_components = old.components if old is not None and "components" not in payload else given_components
    if v2 and (content or kept_embeds or payload.get("poll") or payload.get("sticker_ids")):
        words = "The 'content', 'embeds', 'stickers' and 'poll' fields cannot be used with IS_COMPONENTS_V2"
        form.add(("content",), "MESSAGE_CANNOT_USE_LEGACY_FIELDS_WITH_COMPONENTS_V2", words)
    nonce = _nonce(form, payload)
    _allowed(form, payload.get("allowed_mentions"))
    listed = _listed(form, payload)
    form.check()
    attachments = _attach(twin, body, listed)
    _resolve(twin, form, given_components, given_embeds, attachments, old)
    form.check()
    if not (content or kept_embeds or kept_components or attachments or payload.get("sticker_ids")):
        raise DiscordError(50006)
    return Draft(
        content=(content or "").strip(), embeds=kept_embeds, components=kept_components, attachments=attachments,
        flags=flags, allowed=payload.get("allowed_mentions"), nonce=nonce, tts=payload.get("tts") is True,
    )  # fmt: skip


def _flags(form: Form, body: Body) -> int:
    asked = form.number(("flags",), body.payload.get("flags"), low=0, high=2**31) or 0
    if body.old is None:
        return asked & body.flags
    old = body.old.flags
    if "flags" not in body.payload:
        return old
    # The V2 flag can be set by an edit and never taken away.
    return old & ~model.SUPPRESS_EMBEDS | asked & EDIT_FLAGS


def _nonce(form: Form, payload: Json) -> str | int | None:
    nonce = payload.get("nonce")
    if isinstance(nonce, str) and len(nonce) > MOST_NONCE:
        form.add(("nonce",), "BASE_TYPE_MAX_LENGTH", f"Must be {MOST_NONCE} or fewer in length.")
    elif nonce is not None and (isinstance(nonce, bool) or not isinstance(nonce, str | int)):
        form.add(("nonce",), "NONCE_TYPE_CONVERT", "Could not interpret as nonce.")
    return nonce


def _allowed(form: Form, allowed: Any) -> None:
    if allowed is None:
        return
    if not isinstance(allowed, dict):
        form.add(("allowed_mentions",), "MODEL_TYPE_CONVERT", "Only dictionaries may be used in a ModelType")
        return
    parse = form.items(("allowed_mentions", "parse"), allowed.get("parse"), high=3)
    for i, word in enumerate(parse):
        if word not in ("everyone", "users", "roles"):
            form.add(("allowed_mentions", "parse", i), "BASE_TYPE_CHOICES", "Value must be one of everyone, users, roles.")
    for key in ("users", "roles"):
        form.items(("allowed_mentions", key), allowed.get(key), high=100)
        if key in parse and allowed.get(key):
            words = f'parse:["{key}"] and {key}: [ids...] are mutually exclusive.'
            form.add(("allowed_mentions",), "MESSAGE_ALLOWED_MENTIONS_PARSE_EXCLUSIVE", words)


def _listed(form: Form, payload: Json) -> list[Json] | None:
    given = payload.get("attachments")
    if given is None:
        return None if "attachments" not in payload else []
    kept = []
    for i, entry in enumerate(form.items(("attachments",), given, high=1000)):
        if not isinstance(entry, dict) or not is_id(entry.get("id")):
            form.add(("attachments", i, "id"), "BASE_TYPE_REQUIRED", "This field is required")
            continue
        form.text(("attachments", i, "description"), entry.get("description"), high=1024)
        kept.append(entry)
    return kept


def _attach(twin: Twin, body: Body, listed: list[Json] | None) -> list[Attachment]:
    """Files of the message after this request. Without a list the old ones stay, unless new files come (v10)."""
    old = {a.id: a for a in body.old.attachments} if body.old is not None else {}
    entries = {int(entry["id"]): entry for entry in listed or []}
    limit = twin.file_limit(body.channel.guild_id)
    if any(upload.size > limit for upload in body.files.values()) or (body.files and twin.faults.take("file_limit")):
        raise DiscordError(40005)
    kept = list(old.values()) if listed is None and not body.files else []
    kept += [old[number] for number in entries if number in old]
    for number in entries:
        if number not in old and number not in body.files:
            error = {"attachments": {"_errors": [{"code": "ATTACHMENT_NOT_FOUND", "message": f"No file {number} here."}]}}
            raise DiscordError(50035, errors=error)
    kept += [_attachment(twin, body, upload, entries.get(n, {})) for n, upload in sorted(body.files.items())]
    if len(kept) > MOST_FILES:
        raise DiscordError(30015)
    return kept


def _attachment(twin: Twin, body: Body, upload: Upload, entry: Json) -> Attachment:
    name = plain_name(str(entry.get("filename") or upload.filename))
    attachment = Attachment(
        id=twin.ids.next(), channel_id=body.channel.id, filename=name, size=upload.size, digest=upload.digest,
        content_type=upload.content_type, width=upload.width, height=upload.height,
        description=entry.get("description"), ephemeral=body.ephemeral,
        spoiler=entry.get("is_spoiler") is True or name.startswith("SPOILER_"),
    )  # fmt: skip
    twin.world.attachments[attachment.id] = attachment
    return attachment


def _resolve(twin: Twin, form: Form, parts: list[Json], cards: list[Json], files: list[Attachment], old: Message | None) -> None:
    """Turn `attachment://` and own urls into references, so that each reading signs them anew."""
    holders = list(components.media_holders(parts))
    holders += [(card, key) for card in cards for key in ("image", "thumbnail") if isinstance(card.get(key), dict)]
    for holder, key in holders:
        url = str(holder[key].get("url") or "")
        if url.startswith("attachment://"):
            found = _named(files, url.removeprefix("attachment://"))
            if found is None:
                code = "UNFURLED_MEDIA_ITEM_REFERENCED_ATTACHMENT_NOT_FOUND"
                form.add(("components",), code, f"The referenced attachment {url!r} was not found.")
                continue
        else:
            found = _own(twin, url, files, old)
        if found is not None:
            holder[key] = {"attachment_id": found.id}
            if holder.get("type") == components.FILE:
                holder |= {"name": found.filename, "size": found.size}
        elif "media" in holder:
            media_id = str(twin.ids.next())
            holder[key] = {"id": media_id, "url": url, "proxy_url": url, "flags": 0, "loading_state": 2}


def _named(files: list[Attachment], name: str) -> Attachment | None:
    plain = plain_name(name)
    return next((a for a in files if a.filename == plain), None)


def _own(twin: Twin, url: str, files: list[Attachment], old: Message | None) -> Attachment | None:
    """An edit that sends back a url of the same message keeps its file, whatever the list of attachments says."""
    known = twin.links.attachment_id(url)
    if known is None:
        return None
    for attachment in [*files, *(old.attachments if old is not None else [])]:
        if attachment.id == known[0]:
            if attachment not in files:
                files.append(attachment)
            return attachment
    return None


def _may_ping(allowed: Json | None, word: str, key: str | None = None, subject: int = 0) -> bool:
    if allowed is None:
        return True
    if word in (allowed.get("parse") or []):
        return True
    return key is not None and str(subject) in {str(i) for i in allowed.get(key) or []}


def mention(message: Message, allowed: Json | None, *, everyone: bool, replied: int | None) -> None:
    """Work out whom the message pings. A missing `allowed_mentions` pings everybody it names."""
    text = "\n".join([message.content, *components.texts(message.components)])
    users = dict.fromkeys(int(i) for i in _USER.findall(text))
    message.mentions = [u for u in users if _may_ping(allowed, "users", "users", u)]
    if replied is not None and (allowed is None or allowed.get("replied_user")) and replied not in message.mentions:
        message.mentions.append(replied)
    roles = dict.fromkeys(int(i) for i in _ROLE.findall(text))
    message.mention_roles = [r for r in roles if _may_ping(allowed, "roles", "roles", r)]
    loud = "@everyone" in text or "@here" in text
    message.mention_everyone = loud and everyone and _may_ping(allowed, "everyone")


def post(twin: Twin, draft: Draft, channel: Channel, author: User, **details: Any) -> Message:
    """Make and announce a message. `details` are further fields of `Message`."""
    message = Message(
        id=details.pop("id", None) or twin.ids.next(), channel_id=channel.id, guild_id=channel.guild_id, author=author,
        created_at=twin.clock.now(), content=draft.content, embeds=draft.embeds, components=draft.components,
        attachments=draft.attachments, flags=draft.flags, nonce=draft.nonce, tts=draft.tts, **details,
    )  # fmt: skip
    _ping(twin, message, channel, draft.allowed)
    twin.world.store(channel, message)
    twin.announce.message_created(message)
    return message


def _ping(twin: Twin, message: Message, channel: Channel, allowed: Json | None) -> None:
    loud = bool(twin.world.permissions(message.author.id, channel) & MENTION_EVERYONE)
    replied = None
    if message.type == 19 and message.reference is not None:
        target = twin.world.find_message(int(message.reference["message_id"]))
        replied = target.author.id if target is not None else None
    mention(message, allowed, everyone=loud, replied=replied)


def change(twin: Twin, message: Message, draft: Draft) -> Message:
    """Put an edit into effect and announce it."""
    message.content, message.embeds, message.components = draft.content, draft.embeds, draft.components
    message.attachments, message.flags = draft.attachments, draft.flags
    message.edited_at = twin.clock.now()
    _ping(twin, message, twin.world.channels[message.channel_id], draft.allowed)
    twin.announce.message_updated(message)
    return message


def remove(twin: Twin, message: Message) -> None:
    """Delete a message and announce it."""
    twin.world.discard(message)
    twin.announce.message_deleted(message)
