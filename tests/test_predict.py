"""Tests of u2net_hf.predict: a tiny network against its own parts, and a fake one whose maps are known beforehand."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import SegformerConfig, SegformerImageProcessorPil

from prediction_helpers import Pair, brightness, noise
from tiny_models import tiny_u2net_config
from u2net_hf import predict
from u2net_hf.predict import load_model, saliency_maps
from u2net_hf.u2net.image_processing_pil_u2net import U2NetImageProcessorPil
from u2net_hf.u2net.modeling_u2net import U2NetForImageSegmentation

pytest_plugins = ["prediction_helpers"]


class TestSaliencyMaps:
    def test_equals_the_parts_put_together(self, tiny: Pair) -> None:
        model, image_processor = tiny
        images = [noise(50, 40), noise(31, 64), noise(7, 5)]
        maps = list(saliency_maps(images, model, image_processor, batch_size=2))
        for image, saliency in zip(images, maps, strict=True):
            values = torch.tensor(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))) / 255
            values = (values / values.max() - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor(
                [0.229, 0.224, 0.225]
            )
            with torch.no_grad():
                expected = model(values.permute(2, 0, 1)[None]).logits.sigmoid()
            smaller = image.width < 32 or image.height < 32
            expected = F.interpolate(expected, (image.height, image.width), mode="bilinear", antialias=smaller)
            assert saliency.dtype == np.float32
            assert saliency.shape == (image.height, image.width)
            np.testing.assert_allclose(saliency, expected[0, 0].numpy(), atol=2e-4)

    def test_batches_equal_singles(self, tiny: Pair) -> None:
        images = [noise(20 + number, 30) for number in range(5)]
        singles = list(saliency_maps(images, *tiny))
        batches = list(saliency_maps(images, *tiny, batch_size=3))
        assert [saliency.shape for saliency in batches] == [(30, 20 + number) for number in range(5)]
        for one, other in zip(singles, batches, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)

    def test_min_max(self, tiny: Pair) -> None:
        (saliency,) = saliency_maps([noise(32, 32)], *tiny, do_min_max=True)
        assert (saliency.min(), saliency.max()) == (0, 1)

    def test_transparency_is_white(self, tiny: Pair) -> None:
        hidden = noise(40, 40)
        hidden.putalpha(0)
        maps = list(saliency_maps([hidden, Image.new("RGB", (40, 40), "white")], *tiny))
        np.testing.assert_allclose(*maps, atol=1e-6)

    def test_is_lazy(self) -> None:
        drawn = []

        def images() -> Iterator[Image.Image]:
            for number in range(100):
                drawn.append(number)
                yield Image.new("RGB", (4, 4), (number,) * 3)

        maps = saliency_maps(images(), *brightness(), batch_size=2)
        assert drawn == []
        assert [round(next(maps)[0, 0] * 255) for _ in range(3)] == [0, 1, 2]
        assert len(drawn) == 4

    def test_leaves_gradients_on_for_the_consumer(self, tiny: Pair) -> None:
        maps = saliency_maps([noise(9, 9), noise(9, 9)], *tiny)
        next(maps)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()

    def test_training_mode_is_refused(self) -> None:
        model = U2NetForImageSegmentation(tiny_u2net_config()).train()
        with pytest.raises(ValueError, match=r"model\.eval\(\)"):
            next(saliency_maps([noise(8, 8)], model, U2NetImageProcessorPil()))

    def test_batch_size(self, tiny: Pair) -> None:
        with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
            next(saliency_maps([noise(8, 8)], *tiny, batch_size=0))


class TestLoadModel:
    def test_folder(self, folder: Path, tiny: Pair) -> None:
        model, image_processor = load_model(folder, device="cpu")
        assert not model.training
        assert model.device == torch.device("cpu")
        image = noise(40, 30)
        (loaded,), (original,) = saliency_maps([image], model, image_processor), saliency_maps([image], *tiny)
        np.testing.assert_allclose(loaded, original, atol=0.01)  # the torchvision backend resizes a little otherwise

    def test_dtype(self, folder: Path) -> None:
        model, image_processor = load_model(str(folder), device="cpu", dtype="bfloat16")
        assert model.dtype == torch.bfloat16
        (saliency,) = saliency_maps([noise(40, 30)], model, image_processor)
        assert saliency.dtype == np.float32

    @pytest.mark.parametrize("device", ["toaster", "cuda:99"])
    def test_bad_device(self, folder: Path, device: str) -> None:
        with pytest.raises(ValueError, match=f"device '{device}' cannot be used here"):
            load_model(folder, device=device)

    def test_default_device(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: False)
        assert load_model(folder)[0].device.type == "cpu"
        monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
        monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("meta"))
        assert predict._usable_device(None).type == "meta"

    def test_another_kind_of_model(self, tmp_path: Path) -> None:
        SegformerConfig().save_pretrained(tmp_path)
        SegformerImageProcessorPil().save_pretrained(tmp_path)
        with pytest.raises(ValueError, match="makes no saliency maps"):
            load_model(tmp_path)

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises((OSError, ValueError), match="nowhere"):
            load_model(tmp_path / "nowhere")
