"""The verb `u2net-hf push`: a model, a metric, a data set or the demo to the Hugging Face Hub.

With --dry-run the folder that would be uploaded is written, and nothing is uploaded. An upload is one commit: the Hub
has all of it or nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..utils.console import printable
from .options import Private, Token

app = typer.Typer(no_args_is_help=True, help="Publish a model, a metric, a data set or the demo on the Hub.")

Repository = Annotated[str, typer.Argument(metavar="USER/NAME", help="The repository on the Hub.")]
DryRun = Annotated[
    Path | None, typer.Option("--dry-run", metavar="FOLDER", help="Write this new folder, and upload nothing.")
]


@app.command()
def model(
    source: Annotated[str, typer.Argument(help="A published name (u2netp), a folder, or a Hub id.")],
    repo_id: Repository,
    results: Annotated[
        Path | None,
        typer.Option(help="Results of `evaluate-sod` or `evaluate-cells`; of shipped weights known."),
    ] = None,
    example: Annotated[list[Path] | None, typer.Option(help="A photo to show on the card; may be repeated.")] = None,
    onnx: Annotated[Path | None, typer.Option(help="A folder of `u2net-hf export`, to go along.")] = None,
    license: Annotated[str | None, typer.Option(help="License of the weights; known for published names.")] = None,
    training_data: Annotated[str | None, typer.Option(help="What it was trained on, under which terms.")] = None,
    description: Annotated[str | None, typer.Option(help="What it finds, in a sentence.")] = None,
    launch: Annotated[str | None, typer.Option(help="The command that trained it.")] = None,
    private: Private = False,
    token: Token = None,
    dry_run: DryRun = None,
) -> None:
    """A model with its code, and a card filled from what was measured."""
    from ..hub import publish as hub

    where = hub.publish_model(
        source,
        repo_id,
        results=results,
        examples=example or [],
        onnx=onnx,
        license=license,
        training_data=training_data,
        description=description,
        launch=launch,
        private=private,
        token=token,
        dry_run=dry_run,
    )
    print(printable(where))


@app.command()
def metric(
    source: Annotated[str, typer.Argument(help="sod_metrics or cell_metrics.")],
    repo_id: Repository,
    private: Private = False,
    token: Token = None,
    dry_run: DryRun = None,
) -> None:
    """A metric as a Space, for `evaluate.load("USER/NAME")`."""
    from ..hub import publish as hub

    print(printable(hub.publish_metric(source, repo_id, private=private, token=token, dry_run=dry_run)))


@app.command()
def dataset(
    source: Annotated[Path, typer.Argument(help="A folder that `prepare-corpus` has made.")],
    repo_id: Repository,
    private: Private = False,
    token: Token = None,
    dry_run: DryRun = None,
) -> None:
    """A prepared corpus with its card."""
    from ..hub import publish as hub

    print(printable(hub.publish_dataset(source, repo_id, private=private, token=token, dry_run=dry_run)))


@app.command()
def space(repo_id: Repository, private: Private = False, token: Token = None, dry_run: DryRun = None) -> None:
    """The demo, a Gradio Space with this package in it."""
    from ..hub import publish as hub

    print(printable(hub.publish_space(repo_id, private=private, token=token, dry_run=dry_run)))


@app.command()
def browser(
    repo_id: Repository,
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="To choose from; by default u2netp. Repeatable.")
    ] = None,
    private: Private = False,
    token: Token = None,
    dry_run: DryRun = None,
) -> None:
    """The page that cuts out in the browser, a static Space; with --dry-run for any static server. Needs npm."""
    from ..hub.browser import publish_browser

    print(printable(publish_browser(repo_id, models or ["u2netp"], private=private, token=token, dry_run=dry_run)))
