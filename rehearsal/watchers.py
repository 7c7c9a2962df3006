"""Who looks on: the page and the tests, each as one member or as the operator, over `/control/events`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rehearsal.model import Channel
    from rehearsal.twin import Twin

BACKLOG = 5_000


class Watcher:
    """One open event stream. `user_id` None is the operator."""

    def __init__(self, user_id: int | None) -> None:
        self.user_id = user_id
        self.queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self.visible: set[int] = set()
        self._count = 0

    def send(self, name: str, data: Any) -> None:
        """Queue one event; a watcher that stopped reading is ended."""
        if self.queue.qsize() > BACKLOG:
            self.queue.put_nowait(None)
            return
        self.queue.put_nowait({"n": self._count, "t": name, "d": data})
        self._count += 1


class Watchers:
    """All open streams."""

    def __init__(self, twin: Twin) -> None:
        self._twin = twin
        self._watchers: set[Watcher] = set()

    def open(self, user_id: int | None) -> Watcher:
        """Begin to watch; the first frame is HELLO."""
        watcher = Watcher(user_id)
        watcher.visible = self._visible(watcher)
        watcher.send("HELLO", {"now": self._twin.clock.iso()})
        self._watchers.add(watcher)
        return watcher

    def close(self, watcher: Watcher) -> None:
        """Stop watching."""
        self._watchers.discard(watcher)

    def close_all(self) -> None:
        """End every stream."""
        for watcher in self._watchers:
            watcher.queue.put_nowait(None)

    def tell(self, name: str, make: Callable[[int | None], Any], *, channel: Channel | None = None, only: int | None = None) -> None:
        """Tell those who may see `channel`, or `only` one user; the operator always. `make` is asked per viewer."""
        for watcher in self._watchers:
            if watcher.user_id is not None:
                if only is not None and watcher.user_id != only:
                    continue
                if channel is not None and not self._twin.world.sees(watcher.user_id, channel):
                    continue
            watcher.send(name, make(watcher.user_id))

    def refresh(self) -> None:
        """After a change of permissions: channels that came into view, and those that went out of it."""
        for watcher in self._watchers:
            visible = self._visible(watcher)
            for channel_id in visible - watcher.visible:
                channel = self._twin.world.channels[channel_id]
                name = "THREAD_CREATE" if channel.is_thread else "CHANNEL_CREATE"
                watcher.send(name, self._twin.view.channel(channel, watcher.user_id))
            for channel_id in watcher.visible - visible:
                watcher.send("CHANNEL_DELETE", {"id": str(channel_id), "guild_id": None, "parent_id": None})
            watcher.visible = visible

    def _visible(self, watcher: Watcher) -> set[int]:
        world = self._twin.world
        if watcher.user_id is None:
            return set(world.channels)
        return {c.id for c in world.channels.values() if world.sees(watcher.user_id, c)}
