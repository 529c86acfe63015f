"""The process that serves: a socket, engines that are warm before it answers, an end that is graceful."""

from __future__ import annotations

import asyncio
import socket
import weakref
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from .limits import GRACE, Limits

STOP_SECONDS = 25  # for requests in progress when the server is to stop; orchestrators kill after 30
CONNECTIONS_PER_REQUEST = 4


def open_socket(host: str, port: int) -> socket.socket:
    """Listen, before models are loaded; port 0 chooses one.

    Raises:
        OSError: If that is not possible; the message names the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise OSError(f"{host}:{port} cannot be served ({error.strerror}): choose another --port or --host") from error


class Server(uvicorn.Server):
    """Uvicorn that ends with status 0 when it is told to stop, and ends connections that hold it up.

    Uvicorn itself waits for ever for the head of a request, and for a client to take the rest of an answer.

    Args:
        app: As from [`u2net_hf.serving.app.build_app`].
        limits: Those of the app.
    """

    def __init__(self, app: FastAPI, limits: Limits) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                log_level="warning",
                access_log=False,
                server_header=False,
                limit_concurrency=CONNECTIONS_PER_REQUEST * limits.max_requests,
                timeout_graceful_shutdown=STOP_SECONDS,
            )
        )
        self._idle: weakref.WeakKeyDictionary[Any, tuple[Any, float]] = weakref.WeakKeyDictionary()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop; uvicorn would raise the signal once more at the end."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        if counter % 10 == 0:
            self._end_idle_connections()
        return await super().on_tick(counter)

    def _end_idle_connections(self) -> None:
        now = asyncio.get_running_loop().time()
        connections: list[Any] = [*self.server_state.connections]  # of h11, as `http` says
        for connection in connections:
            cycle = connection.cycle
            if cycle is not None and not cycle.response_complete:
                self._idle.pop(connection, None)
                continue
            known, since = self._idle.get(connection, (None, now))
            if connection not in self._idle or known is not cycle:
                self._idle[connection] = cycle, now
            elif now - since > GRACE:
                connection.transport.abort()
