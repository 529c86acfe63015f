"""The background-removal pipeline against its parts, called by hand."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config
from transformers.utils import ModelOutput

from u2net_hf import BackgroundRemovalPipeline, U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.models.u2net.matting_u2net import refine_alpha


@pytest.fixture
def remover() -> BackgroundRemovalPipeline:
    model = U2NetForImageSegmentation(tiny_u2net_config()).eval()
    processor = U2NetImageProcessorPil(size={"height": 24, "width": 24})
    return BackgroundRemovalPipeline(model=model, image_processor=processor)


def photo(width: int = 30, height: int = 20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_cut_out_is_the_photo_with_the_soft_mask_as_alpha(remover: BackgroundRemovalPipeline) -> None:
    image = photo()
    cut_out, mask = remover(image), remover(image, return_mask=True)
    with torch.inference_mode():
        outputs = remover.model(**remover.image_processor(image, return_tensors="pt"))
    (saliency,) = remover.image_processor.post_process_saliency(outputs, [(20, 30)])
    np.testing.assert_array_equal(np.asarray(mask), np.rint(saliency.numpy() * 255))
    np.testing.assert_array_equal(np.asarray(cut_out)[..., 3], np.asarray(mask))
    np.testing.assert_array_equal(np.asarray(cut_out)[..., :3], np.asarray(image))
    assert image.mode == "RGB"  # the caller's image is left alone


def test_batches_give_what_single_images_give(remover: BackgroundRemovalPipeline) -> None:
    images = [photo(), photo(11, 40), photo(64, 64)]
    batched = remover(images, batch_size=3, return_mask=True)
    for image, mask in zip(images, batched, strict=True):
        difference = np.asarray(mask, dtype=int) - np.asarray(remover(image, return_mask=True), dtype=int)
        assert mask.size == image.size
        assert abs(difference).max() <= 1


def test_min_max_is_an_option(remover: BackgroundRemovalPipeline) -> None:
    stretched = np.asarray(remover(photo(24, 24), return_mask=True, do_min_max=True))
    assert (stretched.min(), stretched.max()) == (0, 255)
    plain = np.asarray(remover(photo(24, 24), return_mask=True))
    assert plain.max() < 255


def test_alpha_matting_refines_mask_and_colors(remover: BackgroundRemovalPipeline) -> None:
    pytest.importorskip("pymatting")
    image = photo(48, 40)
    drawn = torch.full((1, 1, 24, 24), -20.0)
    drawn[..., 6:18, 6:18] = 20.0
    remover._forward = lambda inputs: ModelOutput(logits=drawn, photo=inputs["photo"])
    (saliency,) = remover.image_processor.post_process_saliency(ModelOutput(logits=drawn), [(40, 48)])
    alpha, colors = refine_alpha(image, saliency.numpy())
    cut_out, mask = remover(image, alpha_matting=True), remover(image, alpha_matting=True, return_mask=True)
    np.testing.assert_array_equal(np.asarray(mask), np.rint(alpha * 255))
    np.testing.assert_array_equal(np.asarray(cut_out), np.dstack((colors, np.asarray(mask))))
    assert (np.asarray(mask) != np.asarray(remover(image, return_mask=True))).any()


def test_a_path_with_exif_orientation(remover: BackgroundRemovalPipeline, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    photo(30, 20).save(tmp_path / "turned.jpg", exif=exif)
    assert remover(str(tmp_path / "turned.jpg")).size == (20, 30)
