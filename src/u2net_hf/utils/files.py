"""Writing files whole or not at all."""

from __future__ import annotations

import contextlib
import os
import re
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")
_ABANDONED_AFTER = 3600.0  # seconds without a change; a file is written in one go


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


def remove_abandoned(folders: Iterable[str | Path]) -> None:
    """Delete what [`write_atomically`] left in these folders when its process was killed more than an hour ago.

    Younger files may be those of a process at work. Folders that cannot be read are passed over.
    """
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if _TEMPORARY.fullmatch(entry.name) and time.time() - entry.stat().st_mtime > _ABANDONED_AFTER:
                    os.unlink(entry)
