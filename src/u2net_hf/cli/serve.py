"""The verb `serve`: the HTTP server."""

from __future__ import annotations

import warnings
from typing import Annotated

import typer

from ..engines.names import EngineName
from ..utils.console import printable
from .options import Device, Dtype, TrustRemoteCode


def serve(
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="What requests choose from, the first being the default: a published name (see `pull`), a folder, or "
            "a Hub id; by default u2netp. Repeatable.",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; 0.0.0.0 for other machines too.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 chooses one.")] = 8000,
    max_megabytes: Annotated[float, typer.Option(min=0.001, help="Larger requests are refused.")] = 20,
    max_megapixels: Annotated[float, typer.Option(min=0.001, help="Larger pictures are refused.")] = 50,
    max_requests: Annotated[int, typer.Option(min=1, help="More at once are refused, to be tried again.")] = 128,
    max_per_client: Annotated[int, typer.Option(min=1, help="The same for those of one address.")] = 64,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Waiting photos that go through the network at once; by default 8 on GPUs, else 1."),
    ] = None,
    device: Device = None,
    engine: Annotated[
        EngineName, typer.Option(help="As for `remove`; with --dtype int8 openvino is the fastest of all.")
    ] = EngineName.auto,
    dtype: Annotated[
        Dtype, typer.Option(help="As for `remove`; auto: for torch bfloat16 where the processor has it.")
    ] = Dtype.auto,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Cut objects out over HTTP: a photo is posted, its cut-out comes back.

    POST /remove takes a photo as the body, or as the part `photo` of a form, and options as `remove` has them; the
    result is the same, byte for byte. GET /docs describes it, GET /health says whether it works. Nothing is fetched
    for a request. SIGTERM and Ctrl-C stop it when what is in progress is done.

    **Examples**

        u2net-hf serve

        u2net-hf serve -m u2netp -m isnet --host 0.0.0.0 --port 80

        curl -sf --data-binary @photo.jpg 'localhost:8000/remove?background=white&format=jpg' > shop.jpg

        curl -sf -F photo=@photo.jpg -F background=@beach.jpg localhost:8000/remove > cut-out.png
    """
    try:
        from ..serving.app import build_app
        from ..serving.server import Server, open_socket
    except ModuleNotFoundError as error:
        raise RuntimeError("the server needs another package: pip install 'u2net-hf[serve]'") from error
    from ..engines.choice import choose_engine
    from ..images.files import allow_megapixels
    from ..serving.limits import Limits
    from ..serving.service import RemovalService, load_engines
    from ..utils.process import keep_freed_memory, set_passive_wait_policy

    limits = Limits(round(max_megabytes * 1e6), round(max_megapixels * 1e6), max_requests, max_per_client)
    allow_megapixels(max_megapixels)
    warnings.simplefilter("ignore")  # of photos: they are the clients'
    set_passive_wait_policy()
    keep_freed_memory()
    names = models or ["u2netp"]
    with open_socket(host, port) as listener:
        if engine == EngineName.auto:
            engine, _ = choose_engine(names, dtype, device)
        engines = load_engines(names, engine, device=device, dtype=dtype, trust_remote_code=trust_remote_code)
        service = RemovalService(engines, limits, batch_size=batch_size or _usual_batch_size(engine, device))
        address, chosen = listener.getsockname()[:2]
        typer.echo(printable(f"serving {', '.join(engines)} at http://{address}:{chosen} (described at /docs)"))
        Server(build_app(service), limits).run(sockets=[listener])


def _usual_batch_size(engine: str, device: str | None) -> int:
    """On a CPU a batch costs memory and saves no time."""
    if engine not in (EngineName.torch, EngineName.auto):
        return 1
    from ..engines.torch_engine import usable_device

    return 1 if usable_device(device).type == "cpu" else 8
