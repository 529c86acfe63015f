"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a file beside its place and rename it, so that there is the old file or the new one, never half of one.

    Missing folders are made. Text is written as UTF-8.

    Raises:
        OSError: If it cannot be written; what stood at `path` is still there, and nothing else is left behind.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
