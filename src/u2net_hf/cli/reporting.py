"""What a verb says of many files: errors as they come, counts at the end, and the exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from ..utils.console import printable

if TYPE_CHECKING:
    from ..images.outputs import Job, Result


def report(results: Iterable[Result], progress: Any, jobs: Sequence[Job]) -> None:
    """Work through results, and say what became of them.

    Args:
        results: One per job.
        progress: A bar, moved by one for each.
        jobs: What was to be done.

    Raises:
        typer.Exit: With status 1, if one failed.
    """
    counts = {"done": 0, "skipped": 0, "failed": 0}
    for result in results:
        counts[result.status] += 1
        if result.status == "failed":
            progress.write(f"Error: {printable(result.error)}", file=sys.stderr)
        progress.update()
    progress.close()
    if len(jobs) > 1:
        typer.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
    elif counts["done"]:
        typer.echo(printable(jobs[0].destination))
    elif counts["skipped"]:
        typer.echo(f"{printable(jobs[0].destination)} exists already; --overwrite does it again")
    if counts["failed"]:
        raise typer.Exit(1)
