"""The HTTP server under load, beside `rembg s` with the same weights: many clients, each with a request at a time."""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from .options import PAGE, WORK_DIR, Output, WorkDir, check_cap
from .photos import make_photos
from .rembg_rival import NETWORK, Rembg, install_rembg
from .report import save, saved_lines

ENGINES = (("torch", "auto"), ("openvino", "int8"))
MEGAPIXELS = (0.5, 1.0, 2.0, 4.0, 8.0, 12.0)
COLUMNS = ["", "clients", "requests", "requests/s", "p50, s", "p99, s", "peak, MB", "held, MB"]
ENDED = ["", "ended by the system", "", "", "", ""]  # for lack of memory
HOST, START_SECONDS = "127.0.0.1", 120
BOUNDARY = "benchmark"
PART = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
HEAD = f'{PART}"model"\r\n\r\n{NETWORK}\r\n{PART}"file"; filename="photo.jpg"\r\n\r\n'.encode()
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Contender(NamedTuple):
    """A server to start, and how it is asked.

    Args:
        name: For the table.
        command: What starts it; it gets the port behind it.
        path: Where photos are posted to.
        as_form: Whether they come in a form.
        variables: For its environment.
    """

    name: str
    command: list[str]
    path: str
    as_form: bool
    variables: dict[str, str]


def contenders(rembg: Rembg) -> list[Contender]:
    """rembg, and this package with each engine."""
    theirs = [rembg.command, "s", "--no-ui", "--host", HOST, "--log_level", "error", "--port"]
    bounded = [*theirs[:-1], "--threads", "2", "--port"]
    found = [
        Contender(name, command, "/api/remove", True, rembg.variables)
        for name, command in (("rembg s", theirs), ("rembg s --threads 2", bounded))
    ]
    ours = str(Path(sys.executable).with_name("u2net-hf"))
    for engine, dtype in ENGINES:
        command = [ours, "serve", "-m", NETWORK, "--engine", engine, "--dtype", dtype, "--port"]
        found.append(Contender(f"u2net-hf serve, {engine}, {dtype}", command, "/remove", False, {}))
    return found


def run(
    clients: Annotated[list[int], typer.Option(min=1, help="At once; repeatable, fewest first.")] = [1, 8, 64],  # noqa: B006
    seconds: Annotated[float, typer.Option(min=0, help="How long each number of clients asks.")] = 30,
    only: Annotated[str, typer.Option(help="Only the server of this name; lines of others stay.")] = "",
    work_dir: WorkDir = WORK_DIR,
    output: Output = PAGE,
) -> None:
    """The HTTP server under load, beside `rembg s`."""
    check_cap()
    rembg = install_rembg(work_dir / "rembg")
    photos = [path.read_bytes() for path in make_photos(work_dir / "served", list(MEGAPIXELS))]
    lines = {tuple(line[:2]): line for line in saved_lines(output, "serving")}
    for contender in contenders(rembg):
        if only not in (contender.name, ""):
            continue
        with _started(contender) as (process, port):
            _load(contender, port, photos, 1, 0)  # the first request of rembg loads the network
            for count in clients:
                load = _load(contender, port, photos, count, seconds)
                ended = process.poll() is not None
                line = [contender.name, str(count), *(ENDED if ended else (*load, *_memory(process.pid)))]
                lines[contender.name, str(count)] = line
                print(*line, file=sys.stderr)
                if ended:
                    break
    order = [contender.name for contender in contenders(rembg)]
    ordered = sorted(lines.values(), key=lambda line: (int(line[1]), order.index(line[0])))
    sizes = ", ".join(f"{size:g}" for size in MEGAPIXELS)
    note = (
        f"Photos of {sizes} megapixels (JPEG, with noise) in turns, PNG back; the clients are on the same machine, "
        "each with one request at a time, at least one each. Weights: U²-Net†. Memory: the server's most since its "
        "start, and what it held at the end of the line; each server has its lines in a row, fewest clients first."
    )
    save(output, "serving", "The HTTP server", [{"work": "under load", "columns": COLUMNS, "lines": ordered}], [note])


@contextlib.contextmanager
def _started(contender: Contender) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    with socket.create_server((HOST, 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [*contender.command, str(port)], env=os.environ | contender.variables, stdout=subprocess.DEVNULL
    )
    try:
        end = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection((HOST, port)):
                break
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"{contender.name} does not start")
            time.sleep(0.1)
        yield process, port
    finally:
        process.terminate()
        process.wait()


def _load(contender: Contender, port: int, photos: Sequence[bytes], clients: int, seconds: float) -> list[str]:
    """Ask from so many clients for so long, at least once each: requests, requests a second, median and p99."""
    times: list[float] = []
    start = time.perf_counter()

    def ask(first: int) -> None:
        number = first
        while number == first or time.perf_counter() - start < seconds:
            before = time.perf_counter()
            try:
                status = _post(contender, port, photos[number % len(photos)])
            except OSError:  # the server is gone
                return
            if status != 200:
                raise RuntimeError(f"{contender.name} answers with status {status}")
            times.append(time.perf_counter() - before)
            number += 1

    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, range(clients)))
    elapsed = time.perf_counter() - start
    ordered = sorted(times)
    p99 = ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]
    numbers = (len(times) / elapsed, statistics.median(times), p99)
    return [str(len(times)), *(f"{number:.2f}" for number in numbers)]


def _post(contender: Contender, port: int, photo: bytes) -> int:
    body = b"".join((HEAD, photo, f"\r\n--{BOUNDARY}--\r\n".encode())) if contender.as_form else photo
    connection = HTTPConnection(HOST, port, timeout=600)
    with contextlib.closing(connection):
        connection.request("POST", contender.path, body, FORM if contender.as_form else {})
        response = connection.getresponse()
        response.read()
        return response.status


def _memory(process: int) -> list[str]:
    """The most memory of a process, and what it holds now, in MB; nothing where the system does not tell."""
    status = Path(f"/proc/{process}/status")
    values = dict(line.split(":", 1) for line in status.read_text().splitlines()) if status.is_file() else {}
    return [f"{int(values[name].split()[0]) / 1024:.0f}" if name in values else "" for name in ("VmHWM", "VmRSS")]
