"""The gateway: HELLO, IDENTIFY, RESUME with replay, heartbeats, close codes, intents.

Source: developer docs, events/gateway and topics/opcodes-and-status-codes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiohttp import WSCloseCode, WSMsgType, web

from rehearsal.compression import Stream, stream_for
from rehearsal.errors import is_id, whole
from rehearsal.recording import RawJson

if TYPE_CHECKING:
    from rehearsal.twin import Twin

GUILDS, MEMBERS, PRESENCES, CONTENT = 1 << 0, 1 << 1, 1 << 8, 1 << 15
WEBHOOKS, GUILD_MESSAGES, GUILD_REACTIONS, GUILD_TYPING = 1 << 5, 1 << 9, 1 << 10, 1 << 11
DM_MESSAGES, DM_REACTIONS, DM_TYPING = 1 << 12, 1 << 13, 1 << 14
KNOWN_INTENTS = (1 << 17) - 1 | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25
ALWAYS = 0

REPLAYED = 2_000
BACKLOG = 20_000
FRAMES_A_MINUTE = 120
LONGEST_FRAME = 4096


@dataclass(slots=True)
class Order:
    """What one REST request decided about its own events: held back until answered, or sent well before."""

    after: list[Callable[[], None]] = field(default_factory=list)
    before: bool = False


current_order: ContextVar[Order | None] = ContextVar("current_order", default=None)


class Connection:
    """One socket. A queue and one writer keep the order through the one compression context."""

    def __init__(self, request: web.Request, socket: web.WebSocketResponse, stream: Stream | None) -> None:
        self.socket = socket
        self._request = request
        self._stream = stream
        self._queue: asyncio.Queue[str | int] = asyncio.Queue()
        self.frames: deque[float] = deque()
        self.session: Session | None = None
        self.ended_here = False

    def send(self, text: str) -> None:
        """Queue one message; a reader that never reads is cut off."""
        if self._queue.qsize() > BACKLOG:
            self.reset()
            return
        self._queue.put_nowait(text)

    def close(self, code: int) -> None:
        """Close after what is queued."""
        self.ended_here = True
        self._queue.put_nowait(code)

    def reset(self) -> None:
        """Break the TCP connection."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def write(self) -> None:
        """Send what is queued until the connection ends."""
        while True:
            item = await self._queue.get()
            try:
                if isinstance(item, int):
                    await self.socket.close(code=item)
                    return
                if self._stream is None:
                    await self.socket.send_str(item)
                else:
                    await self.socket.send_bytes(self._stream.pack(item))
            except (ConnectionError, RuntimeError):
                return


class Session:
    """One identified client: its sequence, and what a RESUME replays."""

    def __init__(self, session_id: str, intents: int, shard: tuple[int, int]) -> None:
        self.id = session_id
        self.intents = intents
        self.shard = shard
        self.seq = 0
        self.log: deque[tuple[int, str]] = deque(maxlen=REPLAYED)
        self.connection: Connection | None = None
        self.held: list[tuple[str, str]] = []

    def wants(self, intents: int, guild_id: int | None) -> bool:
        """Whether an event that needs one of `intents` goes to this session."""
        if intents and not self.intents & intents:
            return False
        return self.shard[0] == ((guild_id >> 22) % self.shard[1] if guild_id else 0)

    def dispatch(self, name: str, data: str) -> None:
        """Number, log and send one event; `data` is JSON."""
        self.seq += 1
        text = f'{{"op":0,"t":"{name}","s":{self.seq},"d":{data}}}'
        self.log.append((self.seq, text))
        if self.connection is not None:
            self.connection.send(text)
        held, self.held = self.held, []
        for late_name, late_data in held:
            self.dispatch(late_name, late_data)

    def replay(self, seq: int) -> list[str] | None:
        """Everything after `seq`; None when that is no longer known."""
        if seq > self.seq or (self.log and seq + 1 < self.log[0][0]):
            return None
        return [text for number, text in self.log if number > seq]


class Gateway:
    """All sessions of the one bot under test."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._sessions: dict[str, Session] = {}
        self.identifies = 0

    @property
    def connected(self) -> bool:
        """Whether a bot is connected and identified."""
        return any(s.connection is not None for s in self._sessions.values())

    @property
    def content(self) -> bool:
        """Whether a session asked for message content."""
        return any(s.intents & CONTENT for s in self._sessions.values() if s.connection is not None)

    def connections(self) -> list[Connection]:
        """Open connections of identified sessions."""
        return [s.connection for s in self._sessions.values() if s.connection is not None]

    def dispatch(self, name: str, data: dict[str, Any], *, intents: int = ALWAYS, guild_id: int | None = None) -> None:
        """Send an event to each session that wants it, through the armed event faults."""
        text = json.dumps(data, separators=(",", ":"))
        self._twin.recorder.add("gateway", {"way": "out", "t": name, "d": RawJson(text)})
        targets = [s for s in self._sessions.values() if s.wants(intents, guild_id)]

        def deliver() -> None:
            for session in targets:
                session.dispatch(name, text)

        if self._twin.faults:
            self._faulty(name, text, targets, deliver)
        else:
            deliver()

    def _faulty(self, name: str, text: str, targets: list[Session], deliver: Callable[[], None]) -> None:
        faults, clock = self._twin.faults, self._twin.clock
        order = current_order.get()
        if faults.take("event_drop", path=name):
            return
        late = faults.take("event_late", path=name)
        if late is None and name == "INTERACTION_CREATE":
            late = faults.take("interaction_late", path=name)
        if late is not None:
            clock.call_later(late.number, deliver)
        elif faults.take("event_reorder", path=name):
            for session in targets:
                session.held.append((name, text))
        elif order is not None and faults.take("event_after_answer", path=name):
            order.after.append(deliver)
        else:
            if order is not None and faults.take("event_before_answer", path=name):
                order.before = True
            deliver()
        if faults.take("event_dup", path=name):
            deliver()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One websocket from hello to close."""
        if self._twin.faults.standing("gateway_down"):
            return web.Response(status=503, text="no gateway here")
        try:
            stream = stream_for(request.query.get("compress"))
        except ValueError as error:
            return web.Response(status=400, text=str(error))
        socket = web.WebSocketResponse(compress=False, max_msg_size=1 << 20, timeout=1.0, autoping=True)
        await socket.prepare(request)
        connection = Connection(request, socket, stream)
        bad = (request.query.get("v"), request.query.get("encoding", "json")) != ("10", "json")
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(connection.write())
            if bad:
                connection.close(4012)
            elif not self._twin.faults.take("no_hello"):
                interval = int(self._twin.config.heartbeat_interval * 1000)
                connection.send(json.dumps({"op": 10, "s": None, "t": None, "d": {"heartbeat_interval": interval}}))
            try:
                await self._read(connection)
            finally:
                writer.cancel()
                self._detach(connection)
        return socket

    async def _read(self, connection: Connection) -> None:
        async for message in connection.socket:
            if message.type is not WSMsgType.TEXT:
                connection.close(4002)
                continue
            code = self._frame(connection, message.data)
            if code:
                connection.close(code)

    def _frame(self, connection: Connection, text: str) -> int:
        now = self._twin.clock.now()
        connection.frames.append(now)
        while connection.frames[0] <= now - 60:
            connection.frames.popleft()
        if len(connection.frames) > FRAMES_A_MINUTE:
            return 4008
        if len(text.encode()) > LONGEST_FRAME:
            return 4002
        try:
            frame = json.loads(text)
            op, data = frame["op"], frame.get("d")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return 4002
        hidden = RawJson(text.replace(self._twin.world.application.token, "<token>"))
        self._twin.recorder.add("gateway", {"way": "in", "op": op, "frame": hidden})
        return self._operation(connection, op, data)

    def _operation(self, connection: Connection, op: Any, data: Any) -> int:
        if op == 1:
            if not self._twin.faults.take("no_ack"):
                connection.send('{"op":11,"s":null,"t":null,"d":null}')
            return 0
        if op in (2, 6) and not isinstance(data, dict):
            return 4002
        if op == 2:
            return self._identify(connection, data)
        if op == 6:
            return self._resume(connection, data)
        if op not in (3, 4, 8, 31):
            return 4001
        if connection.session is None:
            return 4003
        if op == 8:
            self._members(connection.session, data if isinstance(data, dict) else {})
        return 0

    def _refused(self, data: dict[str, Any]) -> int:
        application = self._twin.world.application
        intents, shard = data.get("intents"), data.get("shard", [0, 1])
        if data.get("token") != application.token:
            return 4004
        if not isinstance(shard, list) or len(shard) != 2 or any(whole(s) is not s for s in shard) or not 0 <= shard[0] < shard[1]:
            return 4010
        if not isinstance(intents, int) or isinstance(intents, bool) or intents < 0 or intents & ~KNOWN_INTENTS:
            return 4013
        allowed = MEMBERS * application.members_intent | CONTENT * application.message_content_intent
        return 4014 if intents & (MEMBERS | PRESENCES | CONTENT) & ~allowed else 0

    def _identify(self, connection: Connection, data: dict[str, Any]) -> int:
        if connection.session is not None:
            return 4005
        code = self._refused(data)
        if code:
            return code
        self.identifies += 1
        shard = data.get("shard", [0, 1])
        session = Session(secrets.token_hex(16), data["intents"], (shard[0], shard[1]))
        self._attach(session, connection)
        self._welcome(session)
        return 0

    def _welcome(self, session: Session) -> None:
        twin = self._twin
        guilds = [g for g in twin.world.guilds.values() if twin.world.bot.id in g.members and session.wants(0, g.id)]
        ready = {
            "v": 10,
            "user": twin.render.me(),
            "guilds": [{"id": str(g.id), "unavailable": True} for g in guilds],
            "session_id": session.id,
            "session_type": "normal",
            "resume_gateway_url": twin.gateway_url,
            "shard": list(session.shard),
            "application": {"id": str(twin.world.application.id), "flags": twin.render.application()["flags"]},
            "private_channels": [],
            "relationships": [],
            "guild_join_requests": [],
            "_trace": ["rehearsal"],
        }
        session.dispatch("READY", json.dumps(ready))
        late = twin.faults.take("guild_late")
        for guild in guilds:
            if late is not None:
                twin.clock.call_later(late.number, lambda guild=guild: self._guild_create(session, guild.id))
            elif not guild.unavailable:
                self._guild_create(session, guild.id)

    def _guild_create(self, session: Session, guild_id: int) -> None:
        if session.wants(GUILDS, guild_id):
            session.dispatch("GUILD_CREATE", json.dumps(self._twin.render.guild_create(self._twin.world.guilds[guild_id])))

    def _attach(self, session: Session, connection: Connection) -> None:
        self._sessions[session.id] = session
        session.connection = connection
        connection.session = session
        self._twin.announce.bot_changed(connected=True)

    def _resume(self, connection: Connection, data: dict[str, Any]) -> int:
        if connection.session is not None:
            return 4005
        if data.get("token") != self._twin.world.application.token:
            return 4004
        late = self._twin.faults.take("resume_slow")
        if late is not None:
            self._twin.clock.call_later(late.number, lambda: self._continue(connection, data))
        else:
            self._continue(connection, data)
        return 0

    def _continue(self, connection: Connection, data: dict[str, Any]) -> None:
        session = self._sessions.get(str(data.get("session_id")))
        seq = data.get("seq")
        missed = session.replay(seq) if session is not None and isinstance(seq, int) else None
        if session is None or missed is None or self._twin.faults.take("resume_unknown"):
            connection.send('{"op":9,"s":null,"t":null,"d":false}')
            return
        for text in missed:
            connection.send(text)
        if session.connection is not None:
            session.connection.close(4000)
        self._attach(session, connection)
        session.dispatch("RESUMED", '{"_trace":["rehearsal"]}')

    def _detach(self, connection: Connection) -> None:
        session = connection.session
        if session is None or session.connection is not connection:
            return
        session.connection = None
        # A client that says 1000 or 1001 ends its session; any other end, and any of ours, can be resumed.
        polite = connection.socket.close_code in (WSCloseCode.OK, WSCloseCode.GOING_AWAY)
        if polite and connection.socket.closed and not connection.ended_here:
            self._sessions.pop(session.id, None)
        while len(self._sessions) > 50:
            self._sessions.pop(next(iter(self._sessions)))
        self._twin.announce.bot_changed(connected=self.connected)

    def _members(self, session: Session, data: dict[str, Any]) -> None:
        guild = self._twin.world.guilds.get(int(data["guild_id"]) if is_id(data.get("guild_id")) else 0)
        if guild is None or self._twin.world.bot.id not in guild.members:
            return
        wanted = data.get("user_ids")
        query = str(data.get("query") or "").lower()
        members = [m for m in guild.members.values() if m.user.username.lower().startswith(query)]
        if wanted is not None:
            ids = {str(w) for w in (wanted if isinstance(wanted, list) else [wanted])}
            members = [m for m in guild.members.values() if str(m.user.id) in ids]
        elif not session.intents & MEMBERS and not query:
            members = [guild.members[self._twin.world.bot.id]]
        limit = whole(data.get("limit"))
        members = members[:limit] if limit else members
        count = max(1, -(-len(members) // 1000))
        for index in range(count):
            part = members[index * 1000 : (index + 1) * 1000]
            body = {"guild_id": str(guild.id), "members": [self._twin.render.member(m) for m in part], "not_found": []}
            body |= {"chunk_index": index, "chunk_count": count, "nonce": data.get("nonce")}
            session.dispatch("GUILD_MEMBERS_CHUNK", json.dumps(body))

    def strike(self, kind: str, number: float) -> int:
        """A gateway fault that happens at once; how many connections it hit."""
        connections = self.connections()
        for connection in connections:
            if kind == "ws_reset":
                connection.reset()
            elif kind == "ws_close":
                connection.close(int(number))
            elif kind == "op7":
                connection.send('{"op":7,"s":null,"t":null,"d":null}')
            else:
                if kind == "op9_false" and connection.session is not None:
                    self._sessions.pop(connection.session.id, None)
                connection.send(f'{{"op":9,"s":null,"t":null,"d":{"true" if kind == "op9_true" else "false"}}}')
        return len(connections)

    def close(self) -> None:
        """End every connection; the twin is closing."""
        for connection in self.connections():
            connection.close(1001)
