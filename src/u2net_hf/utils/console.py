"""What a command says when it cannot do what it was asked."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def reported_errors() -> Iterator[None]:
    """Turn an expected error into one line on standard error and exit status 1.

    Expected are the errors that the docstrings of this package name: all are `ValueError`, `OSError` or
    `RuntimeError`.
    """
    try:
        yield
    except (ValueError, OSError, RuntimeError) as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
