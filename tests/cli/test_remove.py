"""What `remove` says of odd files, in a process of its own: libraries write to the terminal past Python."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.utils.console import printable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(folder)
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def remove(model: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "u2net_hf", "remove", *map(str, arguments), "-m", str(model)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)


def test_a_folder_of_odd_files(model: Path, tmp_path: Path) -> None:
    """Every file is done, or named in one line; nothing else is said, and a terminal obeys none of it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    photo = Image.effect_noise((200, 200), 90).convert("RGB")
    photo.save(folder / "good.jpg")
    photo.save(folder / "good.webp")
    photo.save(folder / "moving.gif", save_all=True, append_images=[photo.rotate(90)])
    photo.save(folder / "damaged.tif", compression="tiff_lzw")
    data = bytearray((folder / "damaged.tif").read_bytes())
    data[5000:5100] = bytes(100)
    (folder / "damaged.tif").write_bytes(data)
    Image.new("1", (10000, 9000)).save(folder / "large.png")  # Pillow warns of it
    os.mkfifo(folder / "pipe.jpg")
    (folder / "evil\x1b]0;owned\x07\n.jpg").write_text("no photo")

    done = remove(model, folder, "-o", tmp_path / "out", "--mask")
    assert done.returncode == 1
    said = sorted(line for line in done.stderr.splitlines() if line and "image/s" not in line and "%|" not in line)
    beginnings = [
        f"Error: {folder}/damaged.tif: the image is damaged",
        f"Error: {folder}/evil\\x1b]0;owned\\x07\\n.jpg: is not an image",
        f"Error: {folder}/pipe.jpg: is a pipe or a device",
    ]
    assert len(said) == len(beginnings), done.stderr
    assert all(line.startswith(beginning) for line, beginning in zip(said, beginnings, strict=True)), said
    assert "4 done, 0 skipped, 3 failed" in done.stdout
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["good.jpg.png", "good.webp.png", "large.png", "moving.png"]
    with Image.open(tmp_path / "out" / "moving.png") as moving:
        assert moving.n_frames == 2


def test_max_megapixels(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("1", (16000, 12500)).save(tmp_path / "phone.png")  # 200 megapixels
    refused = remove(model, tmp_path / "phone.png", "--mask")
    assert refused.returncode == 1
    assert "phone.png: has 200 megapixels, more than 178.957; " in refused.stderr
    assert "--max-megapixels" in refused.stderr
    done = remove(model, tmp_path / "phone.png", "--mask", "--max-megapixels", "250")
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with Image.open(tmp_path / "phone.mask.png") as mask:
        assert mask.size == (16000, 12500)
    Image.new("1", (1200, 1000)).save(tmp_path / "small.png")
    assert "has 1.2 megapixels, more than 1;" in remove(model, tmp_path / "small.png", "--max-megapixels", "1").stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Grüße/猫 photo.jpg", "Grüße/猫 photo.jpg"),
        ("a\x1b[2J\nb\r\x9b\u202e.jpg", "a\\x1b[2J\\nb\\r\\x9b\\u202e.jpg"),
        (os.fsdecode(b"caf\xe9.jpg"), "caf\\udce9.jpg"),
        (ValueError("x\ty"), "x\\ty"),
    ],
)
def test_printable(text: object, expected: str) -> None:
    assert printable(text) == expected


def test_a_white_logo_is_seen(model: Path, tmp_path: Path) -> None:
    """The network is shown the logo, not a white sheet: the map has contrast where the logo is."""
    logo = Image.new("RGBA", (64, 64), (255, 255, 255, 0))
    logo.paste((255, 255, 255, 255), (16, 16, 48, 48))
    logo.save(tmp_path / "logo.png")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "sheet.png")
    done = remove(model, tmp_path / "logo.png", tmp_path / "sheet.png", "--mask", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    seen, sheet = (np.asarray(Image.open(tmp_path / "out" / name)) for name in ("logo.png", "sheet.png"))
    assert not np.array_equal(seen, sheet)


def test_it_says_which_engine_runs(model: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.effect_noise((40, 30), 90).convert("RGB").save(photo)
    done = remove(model, photo, "-o", tmp_path / "out.png", "--verbose", "--dtype", "float32", "--device", "cpu")
    assert "Engine: torch, float32 (the fastest once it is loaded)" in done.stderr


def test_a_network_for_microscope_images_is_none_for_photos(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    result = remove(Path("nuclei"), tmp_path / "a.png")
    assert result.returncode == 1
    message = "nuclei numbers objects in microscope images (u2net-hf segment): take one for photos"
    assert result.stderr.strip().splitlines() == [f"Error: {message}"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
