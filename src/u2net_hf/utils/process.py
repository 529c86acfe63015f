"""The process: its memory, its threads, its share of work that several processes divide among themselves."""

from __future__ import annotations

import ctypes
import os
import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

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
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return False
    # The largest int stands for "never" as a number of bytes at the top of the heap.
    kept = libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    return bool(kept and libc.mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD))


VARIABLE = "OMP_WAIT_POLICY"


def set_passive_wait_policy() -> bool:
    """Let torch's threads sleep, not spin, while they wait for each other; call it before torch is imported.

    OpenMP's threads spin at the end of each layer. Where other work wants the cores at that time (the decoding and
    encoding of a folder's photos, other processes), they keep the very thread that they are waiting for from running.
    A user's own `OMP_WAIT_POLICY` stays.

    Returns:
        Whether it takes effect: false if torch was there already.
    """
    os.environ.setdefault(VARIABLE, "PASSIVE")
    return "torch" not in sys.modules


_Item = TypeVar("_Item")


@dataclass(frozen=True)
class ProcessShare:
    """Which part of the work is this process's.

    Args:
        rank: Number of this process, from 0.
        count: How many processes there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> ProcessShare:
        """Read `RANK` and `WORLD_SIZE`, which the launchers set; without them there is one process.

        Raises:
            ValueError: If they are no such numbers.
        """
        rank, count = (os.environ.get(name, default) for name, default in (("RANK", "0"), ("WORLD_SIZE", "1")))
        if not (rank.isdecimal() and count.isdecimal() and int(rank) < int(count)):
            raise ValueError(f"RANK={rank!r} and WORLD_SIZE={count!r}: expected numbers, 0 <= RANK < WORLD_SIZE")
        return cls(int(rank), int(count)) if count != "1" else cls()

    def of(self, items: list[_Item]) -> list[_Item]:
        """This process's items: every `count`-th, so that all processes get large and small ones alike."""
        return items[self.rank :: self.count]

    def wait_for_the_others(self) -> None:
        """Return when all processes have come here.

        `torchrun` ends all processes as soon as one of them ends with an error.
        """
        if self.count == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
            return
        from torch import distributed

        distributed.init_process_group("gloo", timeout=timedelta(days=30))
        distributed.barrier()
        distributed.destroy_process_group()


def usable_cores() -> int:
    """How many cores this process may use, if all processes on this machine get as many."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
