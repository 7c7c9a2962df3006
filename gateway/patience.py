"""Who sends the head of a request too slowly is hung up on, so that half-sent requests cannot fill the house's connections.

uvicorn closes idle connections after an answer, but waits for ever for the end of a head that has begun, or never begins.
"""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_WITHIN = 10.0
"""Seconds from the connection, or the first byte of a later request, to the end of the head."""


class PatientProtocol(H11Protocol):
    """HTTP/1.1 whose heads have a deadline."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first head is due."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """A head that began is due; one that is whole is not any more."""
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._expect_head()
        else:
            self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is due."""
        self._forget()
        super().connection_lost(exc)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """The head is whole; what follows has its own pings."""
        self._forget()
        super().handle_websocket_upgrade(event)

    def _expect_head(self) -> None:
        """Bytes that trickle in do not put the deadline off."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_WITHIN, self._hang_up)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _hang_up(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self.transport.close()
