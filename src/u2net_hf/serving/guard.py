"""Between the network and the app: bodies of a bounded size, clients that keep a pace, answers in pieces."""

from __future__ import annotations

import asyncio
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import GRACE, SLOWEST, Admission, Held, RefusalError

PIECE = 2**17  # bytes of an answer that are handed to the network at once


class Guard:
    """Lets requests with a body in as [`Admission`] allows, until their answers are sent.

    Args:
        app: What answers them. It finds what is held for a request in the scope, as `held`.
        admission: Who is in progress.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self.app, self.admission = app, admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        pieces = _Pieces(send)
        try:
            with self.admission.enter((scope["client"] or ("",))[0]) as held:
                scope["held"] = held
                body = _Body(scope, receive, held, self.admission.limits.max_bytes)
                await self.app(scope, body.receive, pieces.send)
        except RefusalError as refusal:  # before the app was asked
            answer = JSONResponse({"detail": refusal.detail}, refusal.status_code, refusal.headers)
            await answer(scope, receive, pieces.send)
        except TimeoutError:
            if not pieces.started:
                raise
            # The client does not take its answer: uvicorn closes the connection of an answer that is not complete.


class _Body:
    """The body of a request as it comes in, bounded in size and time."""

    def __init__(self, scope: Scope, receive: Receive, held: Held, max_bytes: int) -> None:
        self._receive, self._held, self._max_bytes = receive, held, max_bytes
        self._start = asyncio.get_running_loop().time()
        self._size, self._complete = 0, False
        headers = dict(scope["headers"])
        self._declared = int(headers.get(b"content-length", b"0"))  # digits only: h11 has seen to that

    async def receive(self) -> Message:
        """The next message.

        Raises:
            RefusalError: If the body is too large or comes too slowly.
        """
        if self._complete:  # what comes is the end of the connection, whenever that is
            return await self._receive()
        self._check_size(self._declared)
        try:
            async with asyncio.timeout_at(_deadline(self._start, self._size)):
                message = await self._receive()
        except TimeoutError:
            raise RefusalError(408, f"only {self._size} bytes came in time: send the picture faster") from None
        body = message.get("body", b"")
        self._size += len(body)
        self._check_size(self._size)
        self._held.change(len(body))
        self._complete = not message.get("more_body", False)
        return message

    def _check_size(self, size: int) -> None:
        if size > self._max_bytes:
            allowed = f"{self._max_bytes / 1e6:g} MB"
            raise RefusalError(413, f"the request is larger than {allowed}: make the picture smaller first")


class _Pieces:
    """An answer on its way to a client, who must take it at some pace."""

    def __init__(self, send: Send) -> None:
        self._send, self._asked = send, time.perf_counter()
        self._start, self._size = 0.0, 0
        self.started = False

    async def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            TimeoutError: If the client takes it too slowly.
        """
        if message["type"] != "http.response.body":
            self.started, self._start = True, asyncio.get_running_loop().time()
            total = (time.perf_counter() - self._asked) * 1e3
            message["headers"] = [*message["headers"], (b"server-timing", f"total;dur={total:.1f}".encode())]
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        for start in range(0, len(body) or 1, PIECE):
            piece = body[start : start + PIECE]
            rest = more or start + PIECE < len(body)
            async with asyncio.timeout_at(_deadline(self._start, self._size)):
                await self._send({"type": "http.response.body", "body": piece, "more_body": rest})
            self._size += len(piece)


def _deadline(start: float, size: int) -> float:
    """When the next piece must be through, of which this size has gone since the start."""
    return min(asyncio.get_running_loop().time(), start + size / SLOWEST) + GRACE
