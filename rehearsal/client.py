"""A small asynchronous client of the control API, for tests and for the demo. Shapes: CONTROL.md."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import aiohttp

Json = dict[str, Any]
TIMEOUT_S = 30.0


class Refused(Exception):
    """The control API said no: `status`, `code` (a word), `sentence`."""

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(f"{code}: {sentence}")
        self.status = status
        self.code = code
        self.sentence = sentence


class NothingCame(Exception):
    """What was waited for did not happen in time; the text says what was there instead."""


class RehearsalClient:
    """Plays members and arranges the world. `as_` is a user id or name."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._open: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._open is not None:
            await self._open.close()
            self._open = None

    def _session(self) -> aiohttp.ClientSession:
        if self._open is None:
            self._open = aiohttp.ClientSession()
        return self._open

    async def request(self, method: str, path: str, *, query: Json | None = None, timeout_s: float | None = None, **how: Any) -> Any:
        """Any route of `/control`. Raises Refused."""
        asked = {k: str(v) for k, v in (query or {}).items() if v is not None}
        limit = aiohttp.ClientTimeout(total=timeout_s or self._timeout_s)
        async with self._session().request(method, f"{self.url}/control/{path}", params=asked, timeout=limit, **how) as response:
            text = await response.text()
            try:
                body = json.loads(text)
            except ValueError:
                body = {"error": text[:200], "code": "bad_request"}
            if response.status >= 400:
                raise Refused(response.status, body.get("code", "bad_request"), body.get("error", text))
            return body

    async def get(self, path: str, **query: Any) -> Any:
        """GET."""
        return await self.request("GET", path, query=query)

    async def post(self, path: str, body: Json, *, wait: str | None = None, timeout_s: float = 20) -> Any:
        """POST; fields that are None are left out."""
        kept = {key: value for key, value in body.items() if value is not None}
        query = None if wait is None else {"wait": wait, "timeout_s": timeout_s}
        longest = None if wait is None else timeout_s + 10
        return await self.request("POST", path, query=query, json=kept, timeout_s=longest)

    # Look

    async def health(self) -> Json:
        """Addresses, token, ids, whether the bot is connected."""
        return await self.get("health")

    async def state(self, as_: Any = None) -> Json:
        """State, as a member or as the operator."""
        return await self.get("state", **{"as": as_})

    async def channel(self, channel_id: Any, as_: Any = None) -> Json:
        """One channel."""
        return await self.get(f"channels/{channel_id}", **{"as": as_})

    async def messages(self, channel_id: Any, as_: Any = None, *, limit: int = 50, before: Any = None, after: Any = None) -> list[Json]:
        """Messages of a channel, oldest first."""
        query = {"as": as_, "limit": limit, "before": before, "after": after}
        return (await self.get(f"channels/{channel_id}/messages", **query))["messages"]

    async def message(self, message_id: Any, as_: Any = None) -> Json:
        """One message."""
        return await self.get(f"messages/{message_id}", **{"as": as_})

    async def interaction(self, interaction_id: Any) -> Json:
        """One interaction."""
        return await self.get(f"interactions/{interaction_id}")

    async def interactions(self, as_: Any = None, channel_id: Any = None) -> list[Json]:
        """Interactions, newest last."""
        return (await self.get("interactions", **{"as": as_, "channel_id": channel_id}))["interactions"]

    async def recording(self, *, kind: str | None = None, since: int = 0) -> list[Json]:
        """Recorded traffic."""
        query = {"since": since} | ({} if kind is None else {"kind": kind})
        limit = aiohttp.ClientTimeout(total=self._timeout_s)
        async with self._session().get(f"{self.url}/control/recording", params=query, timeout=limit) as response:
            return [json.loads(line) for line in (await response.text()).splitlines()]

    async def faults(self) -> list[Json]:
        """Faults, armed and spent."""
        return (await self.get("faults"))["faults"]

    async def limits(self) -> Json:
        """Invalid requests, 429s, requests, unknown routes."""
        return await self.get("limits")

    async def download(self, url: str) -> bytes:
        """The bytes of an attachment's url. Raises Refused when it is gone."""
        limit = aiohttp.ClientTimeout(total=self._timeout_s)
        async with self._session().get(url, timeout=limit) as response:
            if response.status != 200:
                raise Refused(response.status, "gone", await response.text())
            return await response.read()

    # Act

    async def slash(
        self, as_: Any, channel_id: Any, name: str, options: Json | None = None, *, wait: str | None = None,
        timeout_s: float = 20,
    ) -> Json:  # fmt: skip
        """Use a slash command; `name` may be `"group sub"`."""
        body = {"as": as_, "channel_id": channel_id, "name": name, "options": options or {}}
        return await self.post("slash", body, wait=wait, timeout_s=timeout_s)

    async def autocomplete(self, as_: Any, channel_id: Any, name: str, options: Json, focused: str) -> list[Json]:
        """The choices offered while typing the option `focused`."""
        body = {"as": as_, "channel_id": channel_id, "name": name, "options": options, "focused": focused}
        return (await self.post("autocomplete", body))["choices"] or []

    async def menu(self, as_: Any, channel_id: Any, name: str, target_id: Any, *, wait: str | None = None) -> Json:
        """Use a context menu command."""
        body = {"as": as_, "channel_id": channel_id, "name": name, "target_id": str(target_id)}
        return await self.post("menu", body, wait=wait)

    async def click(self, as_: Any, message_id: Any, custom_id: str, *, wait: str | None = None, timeout_s: float = 20) -> Json:
        """Press a button."""
        body = {"as": as_, "message_id": message_id, "custom_id": custom_id}
        return await self.post("click", body, wait=wait, timeout_s=timeout_s)

    async def select(self, as_: Any, message_id: Any, custom_id: str, values: Iterable[Any], *, wait: str | None = None) -> Json:
        """Pick in a select."""
        body = {"as": as_, "message_id": message_id, "custom_id": custom_id, "values": [str(v) for v in values]}
        return await self.post("select", body, wait=wait)

    async def modal(self, as_: Any, interaction_id: Any, values: Json, *, wait: str | None = None) -> Json:
        """Submit the modal that interaction opened."""
        body = {"as": as_, "interaction_id": interaction_id, "values": values}
        return await self.post("modal", body, wait=wait)

    async def upload(self, as_: Any, filename: str, data: bytes) -> str:
        """Upload a file; its upload id, for options, modals and messages."""
        form = aiohttp.FormData()
        form.add_field("as", str(as_))
        form.add_field("file", io.BytesIO(data), filename=filename, content_type="application/octet-stream")
        return (await self.request("POST", "upload", data=form))["uploads"][0]["upload_id"]

    async def say(self, as_: Any, channel_id: Any, content: str = "", *, files: Iterable[str] = (), reply_to: Any = None) -> Json:
        """Write a message."""
        body = {"as": as_, "channel_id": channel_id, "content": content, "files": list(files), "reply_to": reply_to}
        return await self.post("message", body)

    async def edit(self, as_: Any, message_id: Any, content: str) -> Json:
        """Edit an own message."""
        return await self.post("message/edit", {"as": as_, "message_id": message_id, "content": content})

    async def delete(self, as_: Any, message_id: Any) -> None:
        """Delete a message, or dismiss an ephemeral one."""
        await self.post("message/delete", {"as": as_, "message_id": message_id})

    async def react(self, as_: Any, message_id: Any, emoji: str, *, remove: bool = False) -> Json:
        """Add or take back a reaction."""
        return await self.post("reaction", {"as": as_, "message_id": message_id, "emoji": emoji, "remove": remove})

    async def dm(self, as_: Any) -> Json:
        """The DM with the bot."""
        return await self.post("dm", {"as": as_})

    async def thread(self, as_: Any, channel_id: Any, name: str, *, private: bool = False, message_id: Any = None) -> Json:
        """Make a thread."""
        body = {"as": as_, "channel_id": channel_id, "name": name, "private": private, "message_id": message_id}
        return await self.post("thread", body)

    # Arrange

    async def add_user(self, username: str, **more: Any) -> Json:
        """A new person."""
        return await self.post("users", {"username": username} | more)

    async def add_guild(self, name: str, owner: Any, **more: Any) -> Json:
        """A new guild, with the bot unless `bot=False`."""
        return await self.post("guilds", {"name": name, "owner": owner} | more)

    async def add_member(self, guild_id: Any, username: str, **more: Any) -> Json:
        """Make somebody a member; a name nobody has makes the user."""
        return await self.post("members", {"guild_id": guild_id, "username": username} | more)

    async def edit_member(self, guild_id: Any, user: Any, **changes: Any) -> Json:
        """Change roles, nick, time-out."""
        return await self.post("members/edit", {"guild_id": guild_id, "user": user} | changes)

    async def kick(self, guild_id: Any, user: Any) -> None:
        """Remove a member; the bot's id removes the bot."""
        await self.post("kick", {"guild_id": guild_id, "user": user})

    async def add_channel(self, guild_id: Any, name: str, **more: Any) -> Json:
        """A new channel."""
        return await self.post("channels", {"guild_id": guild_id, "name": name} | more)

    async def delete_channel(self, channel_id: Any) -> None:
        """Delete a channel."""
        await self.post("channels/delete", {"channel_id": channel_id})

    async def add_role(self, guild_id: Any, name: str, **more: Any) -> Json:
        """A new role."""
        return await self.post("roles", {"guild_id": guild_id, "name": name} | more)

    async def permissions(self, **what: Any) -> Json:
        """Set a role's bits or one overwrite."""
        return await self.post("permissions", what)

    async def delete_message(self, message_id: Any) -> None:
        """A moderator deletes a message."""
        await self.post("messages/delete", {"message_id": message_id})

    async def locale(self, user: Any, locale: str) -> Json:
        """Change somebody's language."""
        return await self.post("locale", {"user": user, "locale": locale})

    async def fault(self, name: str, **details: Any) -> Json:
        """Arm a fault: `method`, `path`, `count`, `skip`, `args`."""
        return await self.post("faults", {"name": name} | details)

    async def clear_faults(self) -> None:
        """Disarm all."""
        await self.post("faults/clear", {})

    async def advance(self, seconds: float) -> Json:
        """Push the twin's clock."""
        return await self.post("clock/advance", {"seconds": seconds})

    async def bot(self, **intents: bool) -> None:
        """Switch privileged intents in the portal: `members=True, message_content=True`."""
        await self.post("bot", {"intents": intents})

    # Wait

    async def events(self, as_: Any = None) -> AsyncIterator[Json]:
        """Events until the connection ends: `{"n", "t", "d"}`, the first is HELLO."""
        params = {} if as_ is None else {"as": str(as_)}
        async with self._session().ws_connect(f"{self.url}/control/events", params=params, heartbeat=20, max_msg_size=0) as socket:
            async for frame in socket:
                if frame.type is not aiohttp.WSMsgType.TEXT:
                    return
                yield json.loads(frame.data)

    async def wait_message(
        self, as_: Any, channel_id: Any, wanted: Callable[[Json], Any], *, timeout_s: float = 20, after: Any = None
    ) -> Json:
        """The first message of a channel that is `wanted`, there already or yet to come. Raises NothingCame."""
        seen: list[Json] = []
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    seen = await self.messages(channel_id, as_, limit=100, after=after)
                    for message in seen:
                        if wanted(message):
                            return message
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            shown = [m["content"][:60] or f"{len(m['components'])} components" for m in seen[-5:]]
            raise NothingCame(f"No such message in {timeout_s} s; the last ones: {shown}") from error

    async def wait_bot(self, *, timeout_s: float = 20) -> None:
        """Until the bot is connected and a command is synced. Raises NothingCame."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    state = await self.state()
                    if state["application"]["connected"] and state["commands"]:
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise NothingCame(f"The bot did not come within {timeout_s} s") from error
