"""Several networks as one engine, against the engines one by one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from prediction_helpers import noise
from tiny_models import tiny_u2net_config

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil, load_engine
from u2net_hf.engines.predict import predict_batch, saliency_maps
from u2net_hf.engines.torch_engine import TorchEngine


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A U²-Net and an IS-Net, with other inputs."""
    paths = [tmp_path_factory.mktemp(name) for name in ("u2net", "isnet")]
    torch.manual_seed(0)
    U2NetForImageSegmentation(tiny_u2net_config()).save_pretrained(paths[0])
    U2NetForImageSegmentation(tiny_u2net_config(stem_channels=3, fuse_side_maps=False)).save_pretrained(paths[1])
    U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(paths[0])
    U2NetImageProcessorPil(size={"height": 64, "width": 48}, do_scale_by_max=False).save_pretrained(paths[1])
    return paths


@pytest.mark.parametrize("do_min_max", [False, True])
def test_maps_are_the_means(folders: list[Path], do_min_max: bool) -> None:
    images = [noise(50, 40), noise(31, 64, "RGBA"), noise(7, 5, "L")]
    mean, first, second = (load_engine(source, device="cpu") for source in (folders, *folders))
    found = saliency_maps(images, mean, batch_size=2, do_min_max=do_min_max)
    ones, others = (saliency_maps(images, engine, do_min_max=do_min_max) for engine in (first, second))
    for image, map, one, other in zip(images, found, ones, others, strict=True):
        assert (map.shape, map.dtype) == ((image.height, image.width), np.float32)
        np.testing.assert_allclose(map, (one + other) / 2, atol=1e-5)
        assert abs(one - other).max() > 1e-3
    (sized,) = predict_batch([images[0]], mean, sizes=[(20, 30)])
    assert sized.shape == (20, 30)
    assert mean([mean.reduce(images[0])], None, False)[0].shape == (40, 50)


def test_the_record_names_what_differs(folders: list[Path]) -> None:
    variant = load_engine(folders, device="cpu").variant
    assert variant["size"] == "32x32 + 64x48"
    assert variant["do_scale_by_max"] == "True + False"
    assert variant["dtype"] == "float32"


def test_a_list_of_one_is_that_one(folders: list[Path]) -> None:
    assert isinstance(load_engine(folders[:1], device="cpu"), TorchEngine)


def test_nothing_is_no_model() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        load_engine([])
