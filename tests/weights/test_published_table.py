"""Tests of `u2net_hf.weights.published`: what is shipped, the table, and what a user calls a model."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from weight_fixtures import MODEL_FILES, WHEEL, Server, publish, sha256

from u2net_hf.models.u2net.configuration_u2net import U2NetConfig
from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights import published as checkpoints
from u2net_hf.weights.published import PUBLISHED, SHIPPED, pull, pull_onnx, resolve
from u2net_hf.weights.sources import FileUrl, NpmChunks, WheelMember

pytest_plugins = ["weight_fixtures"]


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
