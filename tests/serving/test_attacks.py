"""What a server must bear: too much, too slow, malformed, gone. It says why, forgets it, and serves the others."""

import asyncio
import io
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from served import HOST, Answer, Served, form, serving
from zoo_damage import draw_damage
from zoo_pictures import draw, encode, png

from u2net_hf.serving import guard
from u2net_hf.serving import server as server_module
from u2net_hf.serving.app import RemoveQuery
from u2net_hf.serving.limits import Budget, Limits, RefusalError
from u2net_hf.serving.service import load_engines
from u2net_hf.serving.worker import EngineWorker

pytest_plugins = ["prediction_helpers"]
PHOTO = encode(draw(), "png")
SMALL = Limits(max_bytes=200_000, max_pixels=300_000, max_requests=4, max_per_client=3)


class FlatEngine:
    """Each map is flat, at the brightness of the image's first pixel. It waits until it may go on."""

    variant: dict[str, Any] = {}
    input_size = None

    def __init__(self) -> None:
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.batches: list[list[int]] = []

    def reduce(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB").resize((2, 2))

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        values = [int(np.asarray(image)[0, 0, 0]) for image in images]
        self.batches.append(values)
        assert self.may_go_on.wait(60)
        if 13 in values:
            raise RuntimeError("out of memory")
        return [np.full((2, 2), value / 255, np.float32) for value in values]


@pytest.fixture
def engine() -> FlatEngine:
    return FlatEngine()


@pytest.fixture
def served(engine: FlatEngine) -> Iterator[Served]:
    with serving({"flat": engine}, SMALL) as served:
        yield served
        engine.may_go_on.set()


def flat(value: int, size: tuple[int, int] = (20, 10)) -> bytes:
    return encode(Image.new("RGB", size, (value,) * 3), "png")


def opacity(answer: Answer) -> int:
    assert answer.status == 200
    low, high = Image.open(io.BytesIO(answer.data)).getchannel("A").getextrema()
    assert low == high
    return int(low)


@pytest.mark.parametrize(
    ("body", "query", "status", "reason"),
    [
        (b"", "", 422, "photo: is empty"),
        (b"no picture", "", 415, "photo: is no picture of a format that is read here"),
        (b"%!PS-Adobe-3.0\n%%BoundingBox: 0 0 9 9\n", "", 415, "photo: is no picture"),
        (PHOTO[:99], "", 422, "photo: the image is damaged or cut short"),
        (png(20_000, 20_000, 8, 2, zlib.compress(b"")), "", 413, "photo: has more than 0.3 megapixels"),
        (png(1000, 301, 8, 0, zlib.compress(b"")), "", 413, "photo: has more than 0.3 megapixels"),
        (bytes(200_001), "", 413, "the request is larger than 0.2 MB"),
        (PHOTO, "mask=maybe", 422, "mask: Input should be a valid boolean"),
        (PHOTO, "threshold=2", 422, "threshold: Input should be less than or equal to 1"),
        (PHOTO, "threshold=nan", 422, "threshold"),
        (PHOTO, "crop=-1", 422, "crop: Input should be greater than or equal to 0"),
        (PHOTO, "crop=inf", 422, "crop: Input should be a finite number"),
        (PHOTO, "format=bmp", 422, "format: Input should be 'png', 'webp', 'jpg' or 'gif'"),
        (PHOTO, "url=http://127.0.0.1/x.png", 422, "url: Extra inputs are not permitted"),
        (PHOTO, "model=u2net", 422, "model: must be one of flat, got 'u2net'"),
        (PHOTO, f"background={__file__}", 422, "background: "),
        (PHOTO, "background=http://127.0.0.1/x.png", 422, "background: must be an opaque color"),
        (PHOTO, "background=%2300000080", 422, "background: must be an opaque color"),
        (PHOTO, "mask=true&background=white", 422, "a mask has no background"),
    ],
)
def test_refusals(served: Served, body: bytes, query: str, status: int, reason: str) -> None:
    answer = served.post(body, query)
    assert answer.status == status
    assert answer.reason.startswith(reason)
    assert opacity(served.post(flat(200))) == 200


@pytest.mark.parametrize(
    ("parts", "headers", "status", "reason"),
    [
        ({"background": PHOTO}, {}, 422, "photo: is empty"),
        ({"photo": PHOTO, "other": PHOTO}, {}, 422, "form: has a part 'other'"),
        ({"photo": PHOTO, "background": b"x"}, {}, 415, "background: is no picture"),
        ({"photo": PHOTO, "background": PHOTO[:99]}, {}, 422, "background: the image is damaged"),
        ({"a": b"", "b": b"", "c": b""}, {}, 400, "Too many files"),
        ({"photo": PHOTO}, {"Content-Type": "multipart/form-data"}, 400, "Missing boundary"),
        ({"photo": PHOTO}, {"Content-Type": "multipart/form-data; boundary=other"}, 400, ""),
        ({"photo": PHOTO}, {"Content-Encoding": "gzip"}, 415, "content-encoding: gzip is not read here"),
    ],
)
def test_refused_forms(
    served: Served, parts: dict[str, bytes], headers: dict[str, str], status: int, reason: str
) -> None:
    sent = form(parts)
    answer = served.post(sent["body"], headers=sent["headers"] | headers)
    assert answer.status == status
    assert answer.reason.startswith(reason)


def test_a_color_and_a_picture(served: Served) -> None:
    answer = served.post(**form({"photo": PHOTO, "background": PHOTO}), query="background=white")
    assert (answer.status, answer.reason) == (422, "background: a color and a picture; choose one of them")


def test_a_body_whose_size_is_not_said(served: Served) -> None:
    assert opacity(served.post(iter([flat(90)]))) == 90
    answer = served.post(iter([bytes(50_000)] * 9))
    assert (answer.status, answer.reason[:30]) == (413, "the request is larger than 0.2")


def test_an_error_of_the_network_is_one_request_s(served: Served) -> None:
    answer = served.post(flat(13))
    assert answer.status == 500
    assert answer.reason.startswith("internal error: RuntimeError")
    assert opacity(served.post(flat(14))) == 14


def test_too_many_at_once(served: Served, engine: FlatEngine) -> None:
    """One client may have three requests in progress, all together four; all of these are served in the end."""
    engine.may_go_on.clear()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(served.post, flat(value)) for value in (10, 20, 30)]
        served.wait_for_requests(3)
        answer = served.post(flat(40))
        assert (answer.status, answer.headers["retry-after"]) == (429, "5")
        assert answer.reason.startswith("3 requests of this address are in progress")
        waiting.append(pool.submit(served.post, flat(50), client="127.0.0.2"))
        served.wait_for_requests(4)
        answer = served.post(flat(60), client="127.0.0.3")
        assert (answer.status, answer.headers["retry-after"]) == (503, "5")
        assert answer.reason.startswith("4 requests are in progress")
        engine.may_go_on.set()
        assert [opacity(one.result()) for one in waiting] == [10, 20, 30, 50]
    assert served.health()["requests"] == 0
    assert opacity(served.post(flat(40))) == 40


def test_who_hangs_up_is_forgotten(served: Served, engine: FlatEngine) -> None:
    engine.may_go_on.clear()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(served.post, flat(10))
        served.wait(lambda: bool(engine.batches))
        body = flat(20)
        head = f"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        for sent in (head + body, head + body[:9], head, head[:20], b""):
            with socket.create_connection((HOST, served.port)) as client:
                client.sendall(sent)
                if len(sent) > len(head):
                    served.wait_for_requests(2)
        served.wait_for_requests(1)
        engine.may_go_on.set()
        assert opacity(first.result()) == 10
    assert opacity(served.post(flat(30))) == 30
    assert engine.batches == [[10], [30]]


def test_slow_senders(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GRACE", 0.2)
    with socket.create_connection((HOST, served.port)) as client:
        client.sendall(b"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
        said = client.makefile("rb").readline()
        assert said.startswith(b"HTTP/1.1 408")
    served.wait_for_requests(0)


@pytest.mark.parametrize("head", [b"", b"POST /rem", b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: "])
def test_slow_heads(served: Served, monkeypatch: pytest.MonkeyPatch, head: bytes) -> None:
    monkeypatch.setattr(server_module, "GRACE", 0.2)
    with socket.create_connection((HOST, served.port), timeout=30) as client:
        client.sendall(head)
        assert client.recv(1) == b""


def test_slow_readers(engine: FlatEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an answer of 16 MB a client takes nothing: others are served meanwhile, and its share is free again."""
    monkeypatch.setattr(guard, "GRACE", 1)
    noise = Image.effect_noise((2000, 2000), 90)
    body = encode(Image.merge("RGB", [noise, noise.rotate(90), noise.rotate(180)]), "jpg", quality=50)
    with serving({"flat": engine}) as served, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((HOST, served.port))
        client.sendall(f"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        served.wait_for_requests(1)
        assert opacity(served.post(flat(30))) == 30
        served.wait_for_requests(0)


def test_bodies_that_fill_the_memory(engine: FlatEngine) -> None:
    limits = Limits(max_bytes=100_000, max_pixels=1000, max_requests=100, max_per_client=100)
    assert limits.held_bytes == 1_204_000
    head = b"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
    with serving({"flat": engine}, limits) as served:
        clients = [socket.create_connection((HOST, served.port)) for _ in range(14)]
        for client in clients:
            client.sendall(head + bytes(99_000))
        served.wait_for_requests(12)
        statuses = set()
        for client in clients[:]:
            client.settimeout(0.01)
            try:
                statuses.add(client.recv(12))
            except TimeoutError:
                client.close()
        assert statuses == {b"HTTP/1.1 503"}
        served.wait_for_requests(0)
        assert opacity(served.post(flat(30))) == 30


def test_parallel_uploads_do_not_mix(engine: FlatEngine) -> None:
    with serving({"flat": engine}, batch_size=4) as served, ThreadPoolExecutor(20) as pool:
        values = [20 + number for number in range(60)]
        answers = pool.map(lambda value: opacity(served.post(flat(value))), values)
        assert [*answers] == values


BODIES = st.one_of(
    st.binary(max_size=300),
    st.builds(lambda head, data: PHOTO[:head] + data, st.integers(0, len(PHOTO)), st.binary(max_size=40)),
    st.sampled_from([data for _, data in draw_damage() if len(data) < 150_000]),
)
FORM = "multipart/form-data; boundary="
TYPES = st.sampled_from(["image/png", "", f"{FORM}x1x", FORM, "application/json", "\xe9"])


@pytest.fixture(scope="module")
def attacked() -> Iterator[Served]:
    with serving({"flat": FlatEngine()}, SMALL) as served:
        yield served


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODIES, content_type=TYPES, as_form=st.booleans())
def test_malformed_bodies(attacked: Served, body: bytes, content_type: str, as_form: bool) -> None:
    sent = form({"photo": body})["body"] if as_form else body
    answer = attacked.post(sent, headers={"Content-Type": content_type})
    if answer.status != 200:
        assert answer.status in (400, 413, 415, 422)
        assert answer.reason
    assert opacity(attacked.post(flat(77))) == 77


@pytest.mark.parametrize(
    "sent",
    [
        b"\0" * 99 + b"\r\n\r\n",
        b"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"POST /remove HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /remove HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 200_000,
    ],
)
def test_malformed_requests(served: Served, sent: bytes) -> None:
    with socket.create_connection((HOST, served.port), timeout=30) as client:
        client.sendall(sent)
        assert client.recv(12) == b"HTTP/1.1 400"
    served.wait_for_requests(0)


def test_it_stops_when_all_is_done(engine: FlatEngine) -> None:
    engine.may_go_on.clear()
    with serving({"flat": engine}, SMALL) as served, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(served.post, flat(10))
        served.wait(lambda: bool(engine.batches))
        served.server.handle_exit(signal.SIGTERM, None)
        time.sleep(0.5)
        engine.may_go_on.set()
        assert opacity(waiting.result()) == 10
        served.wait(lambda: not served.server.server_state.connections)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, served.port))


def test_the_command(folder: Path) -> None:
    command = [sys.executable, "-m", "u2net_hf", "serve", "-m", str(folder), "--port", "0", "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = process.stdout.readline()
        address = said.split()[3]
        assert said == f"serving {folder.name} at {address} (described at /docs)\n"
        answer = Served(int(address.rpartition(":")[2]), None, None).post(PHOTO)  # type: ignore[arg-type]
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=60)
    assert (answer.status, process.returncode, rest, errors) == (200, 0, "", "")


def test_a_port_that_is_taken() -> None:
    with socket.create_server((HOST, 0)) as taken, pytest.raises(OSError, match=r"cannot be served .* --port"):
        server_module.open_socket(HOST, taken.getsockname()[1])


def test_pages(served: Served) -> None:
    described = served.ask("GET", "/openapi.json").data.decode()
    assert all(f'"name":"{name}"' in described for name in RemoveQuery.model_fields)
    assert served.ask("GET", "/docs").status == 200
    assert served.ask("GET", "/").headers["location"] == "docs"
    assert served.health()["models"] == ["flat"]
    assert served.ask("GET", "/remove").status == 405
    assert served.ask("POST", "/elsewhere", PHOTO).status == 404


def test_a_batch_is_what_waits() -> None:
    engine = FlatEngine()
    engine.may_go_on.clear()
    worker = EngineWorker(engine, batch_size=3)
    images = [Image.new("RGB", (2, 2), (value,) * 3) for value in (10, 20, 13, 40, 50)]
    futures = [worker.submit(images[0])]
    while not engine.batches:
        time.sleep(0.001)
    futures += [worker.submit(image) for image in images[1:]]
    assert futures[1].cancel()
    engine.may_go_on.set()
    assert [round(float(future.result().max()) * 255) for future in (futures[0], *futures[3:])] == [10, 40, 50]
    assert isinstance(futures[2].exception(), RuntimeError)
    worker.close()
    assert engine.batches == [[10], [13, 40], [13], [40], [50]]


def test_shares_of_a_budget() -> None:
    """Who comes first is served first; who is larger than all gets all; who leaves makes room."""
    order = []

    async def take(budget: Budget, name: str, size: int, meanwhile: asyncio.Event) -> None:
        async with budget.share(size):
            order.append(name)
            await meanwhile.wait()

    async def play() -> None:
        budget, go = Budget(10), asyncio.Event()
        tasks = [asyncio.create_task(take(budget, *one, go)) for one in (("a", 6), ("large", 99), ("b", 1), ("c", 4))]
        await asyncio.sleep(0)
        assert (order, budget.left) == (["a"], 4)
        tasks[1].cancel()
        await asyncio.sleep(0.01)
        assert order == ["a", "b"]
        go.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (order, budget.left) == (["a", "b", "c"], 10)

    asyncio.run(play())


def test_names_of_models(folder: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "trust_remote_code": False}
    assert [*load_engines([str(folder)], "torch", **options)] == [folder.name]
    (tmp_path / "u2netp").mkdir()
    with pytest.raises(ValueError, match="the same name"):
        load_engines(["u2netp", str(tmp_path / "u2netp")], "torch", **options)


@pytest.mark.parametrize("value", [0, -1])
def test_bad_limits(value: int) -> None:
    with pytest.raises(ValueError, match="limits must be at least 1"):
        Limits(max_bytes=value)


def test_a_reason_has_a_time_to_come_again_where_that_helps() -> None:
    assert [bool(RefusalError(status, "").headers) for status in (413, 429, 503)] == [False, True, True]
