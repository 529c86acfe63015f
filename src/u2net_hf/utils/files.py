"""Writing files and folders whole or not at all."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import secrets
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

_TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.part")
_TEMPORARY_FOLDER = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_ABANDONED_AFTER = 3600.0  # seconds without a change; a file is written in one go
_LOCK, _REPLACED = ".lock", "replaced"  # names in a temporary folder


@contextlib.contextmanager
def new_file(path: str | Path) -> Iterator[Path]:
    """A place for a file beside `path`, which takes that name once everything is written.

    Missing folders are made. If anything is raised, or the process is killed, `path` is as it was.

    Raises:
        OSError: If it cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_atomically(path: str | Path, data: bytes | str) -> None:
    """Write a file beside its place and rename it, so that there is the old file or the new one, never half of one.

    Missing folders are made. Text is written as UTF-8.

    Raises:
        OSError: If it cannot be written; what stood at `path` is still there, and nothing else is left behind.
    """
    with new_file(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)


def remove_abandoned(folders: Iterable[str | Path]) -> None:
    """Delete what [`new_file`] left in these folders when its process was killed more than an hour ago, and
    what [`temporary_folder`] left there.

    Younger files may be those of a process at work. Folders that cannot be read are passed over.
    """
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_AFTER
                if old and _TEMPORARY.fullmatch(entry.name):
                    os.unlink(entry)
                elif old and _TEMPORARY_FOLDER.fullmatch(entry.name) and not Path(entry, _LOCK).exists():
                    # Its process was killed before it had a lock, or while it was tidying up.
                    shutil.rmtree(entry, ignore_errors=True)
        for lock in Path(folder).glob(f".*.*.tmp/{_LOCK}"):
            _remove_if_abandoned(lock, Path(folder, lock.parent.name[1:].rsplit(".", 2)[0]))


@contextlib.contextmanager
def new_folder(target: str | Path, *, overwrite: bool | None = None, merge: bool = False) -> Iterator[Path]:
    """An empty folder to write to, which takes the place of `target` once everything is written.

    Missing parents are made. If anything is raised, or the process is killed, `target` is as it was.

    Args:
        target: The folder to make.
        overwrite: Whether `target` may hold files already; None if the user has no such choice.
        merge: Whether to move the new files over those of `target`, one by one, instead of replacing the folder.

    Raises:
        FileExistsError: If `target` is a file, or holds files and `overwrite` is off.
        OSError: If it cannot be written.
    """
    with temporary_folder(target) as temporary:
        target = Path(target)
        if target.exists() and not target.is_dir():
            raise FileExistsError(f"{target} is a file: name a folder.")
        if target.exists() and any(target.iterdir()) and not overwrite:
            hint = "" if overwrite is None else ", or overwrite it (--overwrite)"
            raise FileExistsError(f"{target} is not empty: choose another folder{hint}.")
        folder = temporary / "made"
        folder.mkdir()
        yield folder
        flush_to_disk(folder)
        if merge and target.exists():
            _move_files(folder, target)
            return
        target = target.resolve()  # replace what a link leads to, not the link
        if target.exists():
            os.replace(target, temporary / _REPLACED)
        os.replace(folder, target)


@contextlib.contextmanager
def temporary_folder(target: str | Path) -> Iterator[Path]:
    """An empty folder beside `target`, deleted at the end; missing parents are made.

    Such folders of killed processes are deleted first: each holds a lock, which ends with its process.

    Raises:
        OSError: If it cannot be made.
    """
    from huggingface_hub.utils import WeakFileLock

    target = Path(target).resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    for lock in target.parent.glob(f".{glob.escape(target.name)}.*.tmp/{_LOCK}"):
        _remove_if_abandoned(lock, target)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    temporary.mkdir()
    try:
        with WeakFileLock(temporary / _LOCK):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _remove_if_abandoned(lock: Path, target: Path) -> None:
    """Delete the temporary folder of a killed process; if it was killed while it replaced `target`, undo that."""
    from filelock import Timeout
    from huggingface_hub.utils import WeakFileLock

    with contextlib.suppress(Timeout, OSError):
        with WeakFileLock(lock, timeout=0.01):
            if lock.with_name(_REPLACED).exists() and not target.exists():
                os.replace(lock.with_name(_REPLACED), target)
        shutil.rmtree(lock.parent, ignore_errors=True)


def _move_files(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        if not path.is_dir():
            destination = target / path.relative_to(source)
            destination.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, destination)


def flush_to_disk(folder: Path) -> None:
    """Wait until the files of a folder are stored: a rename may otherwise outlive a crash that they do not."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
