"""What verbs have in common: values of their options, standard input and output, and what they say of many files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..utils.console import printable

if TYPE_CHECKING:
    from ..images.outputs import Job, Result

Inputs = Annotated[list[str], typer.Argument(help="Images and folders; - reads one image from standard input.")]
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", help="A file for one image, else a folder; - writes to standard output."),
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda:1, mps; by default the fastest.")]
TrustRemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run the code that a model of others brings along; torch only.")
]
Private = Annotated[bool, typer.Option("--private", help="Make a new repository private.")]
Token = Annotated[str | None, typer.Option(help="Token of the Hub.", show_default=False)]

STREAM = "-"

# Types of numbers: that a network can be run with, that PyTorch runs it with, those in an exported network.
Dtype = StrEnum("Dtype", ["auto", "float32", "bfloat16", "float16", "int8"])
TorchDtype = StrEnum("TorchDtype", ["auto", "float32", "bfloat16", "float16"])
ExportDtype = StrEnum("ExportDtype", ["float32", "float16", "int8"])


def names_stream(inputs: Sequence[str], output: str | None) -> bool:
    """Whether one image comes from standard input or goes to standard output.

    Raises:
        ValueError: If others are named beside it.
    """
    named = STREAM in inputs or output == STREAM
    if named and (len(inputs) != 1 or Path(inputs[0]).is_dir()):
        raise ValueError("standard input and output carry one image: name no others beside -")
    return named


def check_destination(destination: str, example: str, formats: Mapping[str, str]) -> None:
    """See that one result can be written to a file or to standard output, before any work is done.

    Args:
        destination: A file, or `STREAM`.
        example: A file to name as an example.
        formats: Suffixes that a file may have, see [`u2net_hf.images.files.format_of`].

    Raises:
        ValueError: If it has another suffix, or standard output is a terminal.
    """
    from ..images.files import format_of

    if destination != STREAM:
        format_of(destination, formats)
    elif sys.stdout.isatty():
        raise ValueError(f"standard output is a terminal: redirect it (> {example}) or name a file with --output")


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
