"""Tests of u2net_hf.engines.predict: a tiny network, through every way to run it in torch, against its own parts."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prediction_helpers import Pair, noise
from torch.nn import functional as F

from u2net_hf.engines.fused_u2net import FusedU2Net
from u2net_hf.engines.interface import Engine
from u2net_hf.engines.predict import predict_batch, saliency_maps
from u2net_hf.engines.torch_engine import ModelEngine, TorchEngine
from u2net_hf.models.u2net.pixels_u2net import InputOptions

pytest_plugins = ["prediction_helpers"]


@pytest.fixture(params=["model", "fused"])
def engine(request: pytest.FixtureRequest, tiny: Pair) -> Engine:
    model, image_processor = tiny
    if request.param == "model":
        return ModelEngine(model, image_processor)
    network = FusedU2Net.from_state_dict(model.config.to_dict(), model.state_dict())
    return TorchEngine(network, InputOptions.from_dict(image_processor.to_dict()))


def expected_map(image: Image.Image, model: Any) -> np.ndarray:
    """The processor's options one by one, the network, and PyTorch's interpolation to the image's size."""
    values = torch.tensor(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))) / 255
    values = (values / values.max() - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        saliency = model(values.permute(2, 0, 1)[None]).logits.sigmoid()
    smaller = image.width < 32 or image.height < 32
    return F.interpolate(saliency, (image.height, image.width), mode="bilinear", antialias=smaller)[0, 0].numpy()


def test_equals_the_parts_put_together(engine: Engine, tiny: Pair) -> None:
    images = [noise(50, 40), noise(31, 64), noise(7, 5)]
    maps = list(saliency_maps(images, engine, batch_size=2))
    for image, saliency in zip(images, maps, strict=True):
        assert saliency.dtype == np.float32
        assert saliency.shape == (image.height, image.width)
        np.testing.assert_allclose(saliency, expected_map(image, tiny[0]), atol=2e-4)


def test_batches_equal_singles(engine: Engine) -> None:
    images = [noise(20 + number, 30) for number in range(5)]
    singles = list(saliency_maps(images, engine))
    batches = list(saliency_maps(images, engine, batch_size=3))
    assert [saliency.shape for saliency in batches] == [(30, 20 + number) for number in range(5)]
    for one, other in zip(singles, batches, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_maps_of_other_sizes_and_of_the_network_s_own(engine: Engine, tiny: Pair) -> None:
    (other,) = predict_batch([noise(50, 40)], engine, sizes=[(20, 30)])
    assert other.shape == (20, 30)
    (own,) = engine([noise(32, 32)], None, False)
    np.testing.assert_allclose(own, expected_map(noise(32, 32), tiny[0]), atol=2e-4)
    assert predict_batch([], engine) == []


def test_min_max(engine: Engine) -> None:
    (saliency,) = saliency_maps([noise(32, 32)], engine, do_min_max=True)
    assert (saliency.min(), saliency.max()) == (0, 1)


def test_transparency_is_white(engine: Engine) -> None:
    hidden = noise(40, 40)
    hidden.putalpha(0)
    maps = list(saliency_maps([hidden, Image.new("RGB", (40, 40), "white")], engine))
    np.testing.assert_allclose(*maps, atol=1e-6)


def test_is_lazy() -> None:
    drawn = []

    class Flat:
        """The number of an image is its brightness, and that of its map."""

        def __call__(self, images: Sequence[Image.Image], sizes: Any, do_min_max: bool) -> list[np.ndarray]:
            return [np.full(size, image.getpixel((0, 0))[0]) for image, size in zip(images, sizes, strict=True)]

    def images() -> Iterator[Image.Image]:
        for number in range(100):
            drawn.append(number)
            yield Image.new("RGB", (4, 4), (number,) * 3)

    maps = saliency_maps(images(), Flat(), batch_size=2)  # type: ignore[arg-type]
    assert drawn == []
    assert [next(maps)[0, 0] for _ in range(3)] == [0, 1, 2]
    assert len(drawn) == 4


def test_leaves_gradients_on_for_the_consumer(engine: Engine) -> None:
    maps = saliency_maps([noise(9, 9), noise(9, 9)], engine)
    next(maps)
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


def test_batch_size(engine: Engine) -> None:
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        next(saliency_maps([noise(8, 8)], engine, batch_size=0))
