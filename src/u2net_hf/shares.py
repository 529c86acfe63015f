"""Work divided among processes, as `torchrun` and `accelerate launch` start them on one machine or many."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True)
class Share:
    """Which part of the work is this process's.

    Args:
        rank: Number of this process, from 0.
        count: How many processes there are.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def from_environment(cls) -> Share:
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
