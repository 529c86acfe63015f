"""What one request, one client and all of them together may take; who asks for more is refused, with a reason."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from starlette.exceptions import HTTPException

GRACE = 20.0  # seconds that a client may pause
SLOWEST = 20_000  # bytes a second that it must send or take on average
RETRY_AFTER = "5"  # seconds, for those who are refused because others are served


@dataclass(frozen=True)
class Limits:
    """What is allowed.

    Args:
        max_bytes: Size of a request's body.
        max_pixels: Pixels of a picture.
        max_requests: Requests in progress at once; others are refused with 503.
        max_per_client: Of these, how many may come from one address; others are refused with 429.

    Raises:
        ValueError: If one is below 1.
    """

    max_bytes: int = 20_000_000
    max_pixels: int = 50_000_000
    max_requests: int = 128
    max_per_client: int = 64

    def __post_init__(self) -> None:
        if min(vars(self).values()) < 1:
            raise ValueError(f"limits must be at least 1, got {self}")

    @property
    def held_bytes(self) -> int:
        """Bodies and results that are kept for all requests together; who would need more is refused with 503."""
        return 12 * self.max_bytes + 4 * self.max_pixels  # the largest result, not compressed, fits too

    @property
    def held_pixels(self) -> int:
        """Pixels that are decoded at once; other requests wait for their turn."""
        return 2 * self.max_pixels


class RefusalError(HTTPException):
    """A request that is not done; where that may help, the answer says when to come again.

    Args:
        status: Of HTTP.
        reason: What is wrong and what to do, in a line.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(status, reason, {"Retry-After": RETRY_AFTER} if status in (429, 503) else None)


class Admission:
    """Who is in progress: requests, by client, and the bytes that are held for them."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.clients: Counter[str] = Counter()
        self.held = 0

    @property
    def requests(self) -> int:
        """Requests in progress."""
        return self.clients.total()

    @contextlib.contextmanager
    def enter(self, client: str) -> Iterator[Held]:
        """Let a request in, until it is answered.

        Raises:
            RefusalError: If there are too many.
        """
        if self.clients[client] >= self.limits.max_per_client:
            raise RefusalError(429, f"{self.clients[client]} requests of this address are in progress: wait for them")
        if self.requests >= self.limits.max_requests:
            raise RefusalError(503, f"{self.requests} requests are in progress: come again later")
        self.clients[client] += 1
        held = Held(self)
        try:
            yield held
        finally:
            held.change(-held.size)
            self.clients[client] -= 1
            if not self.clients[client]:
                del self.clients[client]


class Held:
    """The bytes that are held for one request."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.size = 0

    def change(self, size: int) -> None:
        """Hold so many bytes more, or fewer.

        Raises:
            RefusalError: If that is more than all requests together may have.
        """
        if size > 0 and self.admission.held + size > self.admission.limits.held_bytes:
            raise RefusalError(503, "other requests fill the memory for pictures: come again later")
        self.size += size
        self.admission.held += size


class Budget:
    """An amount that requests take their share of, in the order in which they come."""

    def __init__(self, amount: int) -> None:
        self.amount = self.left = amount
        self._first, self._more = asyncio.Lock(), asyncio.Event()

    @contextlib.asynccontextmanager
    async def share(self, size: int) -> AsyncIterator[None]:
        """Wait until there is so much, or all of it if the size is larger, and have it meanwhile."""
        size = min(size, self.amount)
        async with self._first:  # a lock lets them in as they come, so that a large share is not overtaken for ever
            while self.left < size:
                self._more.clear()
                await self._more.wait()
            self.left -= size
        try:
            yield
        finally:
            self.left += size
            self._more.set()
