"""Keep the memory that a network frees between its layers."""

from __future__ import annotations

import ctypes
import sys

# The numbers of mallopt(3) in glibc's <malloc.h>, and the largest threshold that it takes on 64-bit machines.
M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_THRESHOLD = 32 * 1024**2


def keep_freed_memory() -> bool:
    """Make glibc's malloc keep freed blocks of up to 32 MiB for this process.

    By default it gives large blocks back to the system as soon as they are free, and the system clears each page
    again before the next layer may write to it: 10 to 30 percent of a forward pass on a CPU. The process then keeps
    its peak memory until it ends, so this is for commands, and a library should leave it alone. It lasts until the
    process ends.

    Returns:
        Whether it was done: only on Linux with glibc.
    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    # The largest int stands for "never" as a number of bytes at the top of the heap.
    kept = libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept and libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD))
