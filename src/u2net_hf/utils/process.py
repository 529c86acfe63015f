"""The process: its memory, its threads, its cores."""

from __future__ import annotations

import ctypes
import os
import sys

# The numbers of mallopt(3) in glibc's <malloc.h>, and the largest threshold that it takes on 64-bit machines.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_THRESHOLD = 32 * 1024**2


def keep_freed_memory() -> bool:
    """Make glibc's malloc keep freed blocks of up to 32 MiB for this process.

    By default it gives large blocks back to the system as soon as they are free, and the system clears each page
    again before the next layer may write to it, which is a noticeable part of a forward pass on a CPU. With this the
    process keeps its peak memory until it ends, so it is for commands; a library should leave it alone.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "gnu_get_libc_version"):
        return False
    # The largest int stands for "never" as a number of bytes at the top of the heap.
    kept = libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept and libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD))


def release_freed_memory() -> bool:
    """Have glibc's malloc give all that is free back to the system now, whatever it was told to keep.

    Returns:
        Whether it could be asked: only on Linux with glibc.
    """
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if libc is None or not hasattr(libc, "malloc_trim"):
        return False
    libc.malloc_trim(0)
    return True


def set_passive_wait_policy() -> bool:
    """Let torch's threads sleep, not spin, while they wait for each other; call it before torch is imported.

    OpenMP's threads spin at the end of each layer. Where other work wants the cores at that time (the decoding and
    encoding of a folder's photos, other processes), they keep the very thread that they are waiting for from running.
    A user's own `OMP_WAIT_POLICY` stays.

    Returns:
        Whether it takes effect: false if torch was there already.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return "torch" not in sys.modules


def refuse_ranks(verb: str) -> None:
    """Refuse to do the same work in each of several processes that a launcher has started.

    Raises:
        ValueError: If `WORLD_SIZE` says that there are several.
    """
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ValueError(
            f"{verb} is one process (WORLD_SIZE is set): start it without a launcher; many processes and machines "
            "share the work of `u2net-hf predict`"
        )


def usable_cores() -> int:
    """How many cores this process may use, if all processes on this machine get as many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
