"""How far a long work is: a bar on a terminal, a line now and then elsewhere (a log file, a batch system)."""

from __future__ import annotations

import sys
from time import monotonic
from typing import Any

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 30.0


def progress_bar(*args: Any, hidden: bool = False, **kwargs: Any) -> tqdm[Any]:
    """A bar of tqdm on standard error; where that is no terminal, it writes lines, and none for a short work.

    Args:
        args: As for tqdm, like `kwargs`.
        hidden: Show nothing: this is not the main process.
    """
    return tqdm(*args, disable=hidden, file=None if sys.stderr.isatty() else _Lines(), **kwargs)


class _Lines:
    """What tqdm writes to: the newest state becomes a line every 30 seconds."""

    def __init__(self) -> None:
        self.due = monotonic() + SECONDS_BETWEEN_LINES

    def write(self, text: str) -> None:
        if text.strip() and monotonic() >= self.due:
            self.due = monotonic() + SECONDS_BETWEEN_LINES
            print(text.strip(), file=sys.stderr)

    def flush(self) -> None:
        sys.stderr.flush()
