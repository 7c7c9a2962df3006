"""A line between two TCP ends that can be made bad: slow, narrow, silent, or cut. No tool of the system is needed for it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_CHUNK = 65536
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: closing sends RST in place of FIN."""


class BadLine:
    """Forwards every connection to ``host:port``; what is wrong with the line may be changed at any time."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.delay = 0.0
        """Seconds that each portion of bytes needs, one way: a round trip takes twice that."""
        self.bytes_per_second: float | None = None
        """On the way there; what comes back is not held up."""
        self.open = asyncio.Event()
        self.open.set()
        """Cleared: a black hole. Bytes are taken and go nowhere, new connections too; nobody is told."""
        self.connections = 0
        """Made so far."""
        self.port = 0

    def cut(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            writer.transport.abort()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator["BadLine"]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.cut()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, near: asyncio.StreamReader, answer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(answer)
        try:
            far, onward = await asyncio.open_connection(*self._there)
            self._writers.add(onward)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(near, onward, narrow=True))
                group.create_task(self._pump(far, answer))
        except* (OSError, asyncio.CancelledError):
            pass  # an end that went away is what lines are for
        finally:
            answer.close()
            self._tasks.discard(task)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, narrow: bool = False) -> None:
        """In order, so that a delay holds up what follows, as a long way does not; for questions and answers it is the same."""
        while data := await source.read(256 if narrow and self.bytes_per_second else _CHUNK):
            pace = self.bytes_per_second if narrow and self.bytes_per_second else float("inf")
            await asyncio.sleep(self.delay + len(data) / pace)
            await self.open.wait()
            sink.write(data)
            await sink.drain()
        sink.close()
