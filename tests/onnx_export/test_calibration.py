"""The photos for 8-bit ranges: those that are named, or parts of the shipped one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from u2net_hf import U2NetImageProcessorPil
from u2net_hf.images.files import ImageError
from u2net_hf.onnx_export.calibration import find_photos, network_inputs, shipped_photos
from u2net_hf.utils.resources import find_template


def test_folders_and_files_are_found_in_the_order_given(tmp_path: Path) -> None:
    for name in ("b.jpg", "folder/z.png", "folder/sub/a.webp", "folder/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_photos([tmp_path / "b.jpg", str(tmp_path / "folder")])
    assert found == [tmp_path / "b.jpg", tmp_path / "folder/sub/a.webp", tmp_path / "folder/z.png"]
    assert find_photos(str(tmp_path / "b.jpg")) == [tmp_path / "b.jpg"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no image in .*empty"):
        find_photos(tmp_path / "empty")


def test_shipped_photos_are_parts_of_one_all_different() -> None:
    photos = shipped_photos()
    assert len(photos) == 27
    first = photos[0]
    assert isinstance(first, Image.Image)
    with Image.open(find_template("space/coffee.jpg")) as photo:
        np.testing.assert_array_equal(np.asarray(first), np.asarray(photo.convert("RGB")))
    assert len({photo.tobytes() for photo in photos if isinstance(photo, Image.Image)}) == 27


def test_inputs_are_those_of_the_image_processor(tmp_path: Path) -> None:
    photo = Image.effect_noise((50, 40), 60).convert("RGBA")
    photo.putalpha(128)
    photo.save(tmp_path / "photo.png")
    white = Image.new("RGBA", photo.size, "white")
    white.alpha_composite(photo)
    processor = U2NetImageProcessorPil(size={"height": 32, "width": 32})
    expected = processor(white.convert("RGB"), return_tensors="pt")["pixel_values"]
    from_file, from_image = network_inputs([tmp_path / "photo.png", white.convert("RGB")], processor)
    torch.testing.assert_close(from_image, expected, atol=0, rtol=0)
    torch.testing.assert_close(from_file, expected, atol=0.02, rtol=0)
    with pytest.raises(ImageError, match=r"missing\.png"):
        next(network_inputs([tmp_path / "missing.png"], processor))
