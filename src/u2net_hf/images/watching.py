"""A folder that is watched: what comes into it is named as soon as it is whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .outputs import Job

SECONDS = 1.0  # from one look to the next
_State = tuple[int, int]  # size, time of the last change


def watch(
    plan: Callable[[], list[Job]],
    *,
    overwrite: bool = False,
    pause: Callable[[], object] = lambda: time.sleep(SECONDS),
) -> Iterator[list[Job]]:
    """Look at a folder again and again, without end.

    An image counts as whole when it has not changed from one look to the next. One that changes later, also if it
    could not be done, is named again.

    Args:
        plan: What is there now, as from [`u2net_hf.images.outputs.plan_outputs`].
        overwrite: Whether images that are there at first are named even if they have results.
        pause: Waits until the next look.

    Yields:
        Those that have become whole.
    """
    seen: dict[Path, _State | None] = {}
    named: dict[Path, _State | None] = {}
    while True:
        whole = []
        for job in plan():
            state = _state(job.source)
            if state is not None and seen.get(job.source) == state != named.get(job.source):
                known = job.source in named
                named[job.source] = state
                if overwrite or known or not job.destination.exists():
                    whole.append(job)
            seen[job.source] = state
        if whole:
            yield whole
        pause()


def _state(path: Path) -> _State | None:
    try:
        status = path.stat()
    except OSError:  # it has been taken away, or is a link to nowhere
        return None
    return (status.st_size, status.st_mtime_ns) if status.st_size else None
