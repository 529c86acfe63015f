"""The background-removal pipeline against its parts, called by hand."""

import base64
import json
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_u2net_config
from transformers import pipeline
from transformers.utils import ModelOutput

from u2net_hf import BackgroundRemovalPipeline, U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.models.u2net.render_u2net import refine_alpha


@pytest.fixture
def remover() -> BackgroundRemovalPipeline:
    model = U2NetForImageSegmentation(tiny_u2net_config()).eval()
    processor = U2NetImageProcessorPil(size={"height": 24, "width": 24})
    return BackgroundRemovalPipeline(model=model, image_processor=processor)


def photo(width: int = 30, height: int = 20) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_cut_out_is_the_photo_with_the_soft_mask_as_alpha(remover: BackgroundRemovalPipeline) -> None:
    image = photo()
    cut_out, mask = remover(image), remover(image, mask=True)
    with torch.inference_mode():
        outputs = remover.model(**remover.image_processor(image, return_tensors="pt"))
    (saliency,) = remover.image_processor.post_process_saliency(outputs, [(20, 30)])
    np.testing.assert_array_equal(np.asarray(mask), np.rint(saliency.numpy() * 255))
    np.testing.assert_array_equal(np.asarray(cut_out)[..., 3], np.asarray(mask))
    np.testing.assert_array_equal(np.asarray(cut_out)[..., :3], np.asarray(image))
    assert image.mode == "RGB"  # the caller's image is left alone


def test_batches_give_what_single_images_give(remover: BackgroundRemovalPipeline) -> None:
    images = [photo(), photo(11, 40), photo(64, 64)]
    batched = remover(images, batch_size=3, mask=True)
    for image, mask in zip(images, batched, strict=True):
        difference = np.asarray(mask, dtype=int) - np.asarray(remover(image, mask=True), dtype=int)
        assert mask.size == image.size
        assert abs(difference).max() <= 1


def test_min_max_is_an_option(remover: BackgroundRemovalPipeline) -> None:
    stretched = np.asarray(remover(photo(24, 24), mask=True, do_min_max=True))
    assert (stretched.min(), stretched.max()) == (0, 255)
    plain = np.asarray(remover(photo(24, 24), mask=True))
    assert plain.max() < 255


def test_matting_refines_mask_and_colors(remover: BackgroundRemovalPipeline) -> None:
    pytest.importorskip("pymatting")
    image = photo(48, 40)
    drawn = torch.full((1, 1, 24, 24), -20.0)
    drawn[..., 6:18, 6:18] = 20.0
    remover._forward = lambda inputs: ModelOutput(logits=drawn, photo=inputs["photo"])
    (saliency,) = remover.image_processor.post_process_saliency(ModelOutput(logits=drawn), [(40, 48)])
    alpha, colors = refine_alpha(image, saliency.numpy())
    cut_out, mask = remover(image, matting=True), remover(image, matting=True, mask=True)
    np.testing.assert_array_equal(np.asarray(mask), np.rint(alpha * 255))
    np.testing.assert_array_equal(
        np.asarray(cut_out), np.dstack((colors * (np.asarray(mask) > 0)[..., None], np.asarray(mask)))
    )
    assert (np.asarray(mask) != np.asarray(remover(image, mask=True))).any()


def test_a_path_with_exif_orientation(remover: BackgroundRemovalPipeline, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    photo(30, 20).save(tmp_path / "turned.jpg", exif=exif)
    assert remover(str(tmp_path / "turned.jpg")).size == (20, 30)


def test_background_and_threshold(remover: BackgroundRemovalPipeline, tmp_path: Path) -> None:
    """The formulas that the options stand for; a background may be a color, a picture or its path."""
    image = photo()
    with torch.inference_mode():
        outputs = remover.model(**remover.image_processor(image, return_tensors="pt"))
    (saliency,) = remover.image_processor.post_process_saliency(outputs, [(20, 30)])
    threshold = float(saliency.median())
    kept = saliency.numpy() >= threshold
    assert 0.4 < kept.mean() < 0.6
    np.testing.assert_array_equal(np.asarray(remover(image, threshold=threshold, mask=True)), 255 * kept)
    expected = np.where(kept[..., None], np.asarray(image), [255, 136, 0])
    picture = Image.new("RGB", (5, 5), (255, 136, 0))
    picture.save(tmp_path / "orange.png")
    for background in ("#ff8800", picture, str(tmp_path / "orange.png")):
        result = remover(image, background=background, threshold=threshold)
        np.testing.assert_array_equal(np.asarray(result), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": "blurple"}, "neither a color"),
        ({"threshold": 2}, "threshold must lie"),
        ({"mask": True, "background": "red"}, "a mask has no background"),
    ],
)
def test_options_that_make_no_sense(remover: BackgroundRemovalPipeline, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        remover(photo(), **options)


def test_base64_and_urls(remover: BackgroundRemovalPipeline, tmp_path: Path) -> None:
    """Whatever they come from, photos keep their alpha."""
    image = photo()
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(tmp_path / "a.png")
    expected = np.asarray(remover(str(tmp_path / "a.png")))
    assert (expected[..., 3] <= np.asarray(image)[..., 3]).all()
    encoded = base64.encodebytes((tmp_path / "a.png").read_bytes()).decode()
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a.png"
        for source in (encoded, f"data:image/png;base64,{encoded}", tmp_path / "a.png", image, url):
            np.testing.assert_array_equal(np.asarray(remover(source)), expected)
        server.shutdown()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing.jpg", "nothing.jpg: no such file"),
        ("http://127.0.0.1:9/a.png", "[Cc]onnect"),
        ("QUJDRA==", "not an image"),
    ],
)
def test_what_cannot_be_read_is_said(remover: BackgroundRemovalPipeline, source: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        remover(source)


def test_the_default_model_is_pulled_when_asked_for(
    remover: BackgroundRemovalPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remover.save_pretrained(tmp_path / "u2netp")
    asked = []
    monkeypatch.setattr("u2net_hf.weights.published.pull", lambda name: asked.append(name) or tmp_path / name)
    default = pipeline("background-removal")
    assert asked == ["u2netp"]
    named = pipeline("background-removal", model=str(tmp_path / "u2netp"))  # with torchvision where it is installed
    np.testing.assert_array_equal(np.asarray(default(photo())), np.asarray(named(photo())))
    default.save_pretrained(tmp_path / "again")
    assert str(tmp_path) not in (tmp_path / "again" / "config.json").read_text()
    assert "default" not in json.loads((tmp_path / "again" / "config.json").read_text())["custom_pipelines"]
