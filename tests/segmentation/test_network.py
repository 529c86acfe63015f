"""A page in strips and tiles gives what processor and model give of the whole; found are the cells that were drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from cell_models import bright_cells, bright_finder, same_objects

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.engines import torch_engine
from u2net_hf.engines.fused_unet import FusedUNet
from u2net_hf.segmentation import blocks, network, planes
from u2net_hf.segmentation.network import load_network
from u2net_hf.segmentation.segmentation import segment_image


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips, blocks and margins much smaller than the page."""
    monkeypatch.setattr(planes, "STRIP", 500)
    monkeypatch.setattr(blocks.separate_in_blocks, "__kwdefaults__", {"core": 40, "margin": 10})


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize(
    ("padding", "tile_size"), [("same", 64), ("same", None), ("valid", 68), ("valid", None), ("same", 512)]
)
@pytest.mark.parametrize("percentiles", [None, [1, 99.8]])
def test_a_page_in_pieces_is_the_whole(
    padding: str,
    tile_size: int | None,
    num_channels: int,
    percentiles: list[float] | None,
    tmp_path: Path,
    small_pieces: None,
) -> None:
    options = {"padding": padding, "tile_size": tile_size, "percentiles": percentiles, "num_channels": num_channels}
    folder = bright_finder(tmp_path, context=0.3, **options)
    image = bright_cells(1, dtype=np.uint16, top=4000 if percentiles else 65535)[0]
    if num_channels == 3:
        image = np.stack([bright_cells(seed)[0] for seed in range(3)], axis=-1)
    found = segment_image(image, folder)

    processor = UNetImageProcessorPil.from_pretrained(folder)
    model = UNetForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = model(**processor(image, return_tensors="pt"))
    sizes = [image.shape[:2]]
    (probabilities,) = processor.post_process_probabilities(outputs, sizes)
    (whole,) = processor.post_process_instance_segmentation(outputs, target_sizes=sizes)
    assert np.abs(found.probabilities - probabilities[1].numpy()).max() < 1e-5
    assert same_objects(found.labels, whole["segmentation"].numpy())
    scores = [segment["score"] for segment in whole["segments_info"]]
    assert len(scores) > 5
    assert np.allclose(sorted(found.scores), sorted(scores), atol=1e-5)


def test_large_pages_are_tiled_even_if_the_processor_names_no_tile(
    finder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "TILE_SIZE", 64)
    image, cells = bright_cells(2, 150, 130)
    loaded = load_network(finder)
    seen: list[tuple[int, ...]] = []
    assert isinstance(loaded.model, FusedUNet)
    loaded.model.register_forward_pre_hook(lambda module, tiles: seen.append(tuple(tiles[0].shape)))
    assert same_objects(segment_image(image, loaded).labels, cells)
    assert set(seen) == {(1, 1, 64, 64)}


def test_average_rotations(tmp_path: Path) -> None:
    folder = bright_finder(tmp_path, context=0.5)
    image = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    plain, averaged = (load_network(folder, average_rotations=average) for average in (False, True))
    maps = [segment_image(np.rot90(image, turns), averaged).probabilities for turns in range(4)]
    for turns in range(1, 4):
        assert np.allclose(maps[turns], np.rot90(maps[0], turns), atol=1e-4)
    assert not np.allclose(maps[0], segment_image(image, plain).probabilities, atol=1e-3)


def test_bfloat16_finds_the_same(finder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_engine, "cpu_computes_in", lambda dtype: True)
    image, cells = bright_cells(4)
    assert same_objects(segment_image(image, load_network(finder, dtype="bfloat16")).labels, cells)


def test_what_is_no_network_for_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a u2net; objects are found by a U-Net"):
        load_network("u2netp")
    folder = bright_finder(tmp_path / "resized", do_resize=True, size={"height": 32, "width": 32})
    with pytest.raises(ValueError, match="resizes its images"):
        load_network(folder)
    folder = bright_finder(tmp_path / "classes", instances=None)
    load_network(folder)  # of two labels the second is the object
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"id2label": {', '"id2label": {"2": "c",', 1))
    if "id2label" in config.read_text():
        with pytest.raises(ValueError, match="levels of depth"):
            load_network(folder)
