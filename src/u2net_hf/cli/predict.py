"""The verb `predict`: a corpus of photos to a data set of maps or labels, on this machine or on many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from ..engines.names import EngineName
from ..utils.console import printable
from .options import Device, Dtype, Private, Token, TrustRemoteCode

if TYPE_CHECKING:
    from ..corpus.predict import Plan
    from ..corpus.target import Counts


def predict(
    source: Annotated[
        str,
        typer.Argument(
            help="Photos: a folder of images, with masks or without, a .parquet or .tar file or a folder of them, an "
            "address of one of these (s3://...), or a data set on the Hub."
        ),
    ],
    target: Annotated[str, typer.Argument(help="A folder for parquet files, or the address of one.")],
    split: Annotated[str | None, typer.Option(help="Split of the source, also a part: 'train[:1000]'.")] = None,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="A published name (see `pull`), a folder, or a Hub id; by default u2netp. Several give the mean of "
            "their maps; a U-Net for objects (nuclei) gives label images.",
        ),
    ] = None,
    engine: Annotated[EngineName, typer.Option(help="What runs the network.")] = EngineName.torch,
    dtype: Annotated[Dtype, typer.Option(help="As of `remove`.")] = Dtype.auto,
    device: Device = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Photos that go through the network at once.")] = 1,
    bits: Annotated[int, typer.Option(help="Of the soft maps, 8 or 16.")] = 8,
    cut_out: Annotated[bool, typer.Option("--cut-out", help="Add the cut-outs.")] = False,
    image: Annotated[bool, typer.Option("--image", help="Add the photos: a corpus for `train-sod`.")] = False,
    shard_size: Annotated[int, typer.Option(min=1, help="Photos per parquet file.")] = 256,
    num_actors: Annotated[
        int | None, typer.Option(min=1, help="Workers of Ray, on all machines together; by default no Ray.")
    ] = None,
    cores_per_actor: Annotated[int | None, typer.Option(min=1, help="Cores for each of them.")] = None,
    address: Annotated[str | None, typer.Option(help="A Ray cluster (host:6379, auto); by default none.")] = None,
    push_to_hub: Annotated[
        str | None, typer.Option(metavar="USER/NAME", help="Upload the data set with a card at the end.")
    ] = None,
    license: Annotated[
        str | None, typer.Option(help="Terms of the photos' owners and the weights, for the card.")
    ] = None,
    private: Private = False,
    token: Token = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Make a data set of soft maps (or label images) of a whole corpus of photos.

    The target gets parquet files, whole or not at all, and variant.json, which says how they were made. The same
    command goes on after any interruption: only missing files are made. A photo that cannot be done is a row with its
    `error`. With --num-actors or --address, Ray shares the work among processes and machines, which all must see
    source and target.

    **Examples**

        u2net-hf predict photos/ maps/

        u2net-hf predict s3://shop/photos s3://shop/maps --cut-out --address auto

        u2net-hf predict photos/ maps/ -m u2net -m isnet --image --num-actors 8 --cores-per-actor 4

        u2net-hf predict user/photos maps/ --split train --push-to-hub user/maps --license cc-by-4.0
    """
    try:
        from ..corpus.predict import Plan, predict_here
        from ..corpus.rows import Columns
        from ..data.photos import load_photos

        if on_ray := bool(num_actors or cores_per_actor or address):
            from ..corpus.on_ray import predict_on_ray
    except ModuleNotFoundError as error:
        raise RuntimeError("predict needs other packages: pip install 'u2net-hf[ray]'") from error
    from ..utils.process import keep_freed_memory, set_passive_wait_policy

    keep_freed_memory()
    set_passive_wait_policy()
    if push_to_hub:
        from ..hub.upload import check_account, check_repo_id

        if not license:
            raise ValueError("--push-to-hub needs --license: say under which terms the data may be used")
        check_repo_id(push_to_hub)
        check_account(push_to_hub, token)
    photos = load_photos(source, split, shard_size)
    plan = Plan(
        photos,
        target,
        models or ["u2netp"],
        Columns(bits, cut_out, image),
        engine,
        device,
        dtype,
        batch_size,
        trust_remote_code,
    )
    _report(predict_on_ray(plan, num_actors, cores_per_actor, address) if on_ray else predict_here(plan), plan)
    if push_to_hub:
        from ..hub.predictions import publish_predictions

        print(printable(publish_predictions(target, push_to_hub, license or "", private=private, token=token)))


def _report(pieces: Iterator[Counts], plan: Plan) -> None:
    """Work through the pieces with a progress bar, and say what became of them."""
    from ..corpus.target import Counts
    from ..utils.progress import progress_bar

    total, pieces_done = Counts(), 0
    with progress_bar(total=plan.photos.num_photos, unit="photo") as progress:
        for counts in pieces:
            total, pieces_done = total + counts, pieces_done + 1
            progress.update(counts.done + counts.failed)
    earlier = len(plan.photos) - pieces_done
    typer.echo(
        f"{total.done} done, {total.failed} failed" + (f", {earlier} parquet files were there" if earlier else "")
    )
