"""The image processors of U-Net against Pillow, NumPy and the paper's figure 2."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_unet_config
from transformers import pipeline
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils import is_torchvision_available

from u2net_hf.models.unet.image_processing_unet import UNetImageProcessor, UNetImageProcessorPil
from u2net_hf.models.unet.modeling_unet import UNetForSemanticSegmentation

BACKENDS = [
    UNetImageProcessorPil,
    pytest.param(
        UNetImageProcessor,
        marks=pytest.mark.skipif(not is_torchvision_available(), reason="needs torchvision"),
    ),
]
VALID = {"num_channels": 1, "padding": "valid", "depth": 2}  # a context of 20 pixels, legal sizes 44, 48, 52 ...
Backend = type[UNetImageProcessorPil]


def gray(height: int = 13, width: int = 17) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)


def color(height: int = 13, width: int = 17) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pixel_values(processor: UNetImageProcessorPil, images: Any, **kwargs: Any) -> np.ndarray:
    return processor(images, return_tensors="pt", **kwargs)["pixel_values"].numpy()


def perfect_outputs(pixel_values: torch.Tensor, crop: int = 0) -> SimpleNamespace:
    """What a network would put out whose logits are its input, without the pixels that valid convolutions lose."""
    return SimpleNamespace(logits=pixel_values[..., crop : -crop or None, crop : -crop or None])


@pytest.mark.parametrize("backend", BACKENDS)
def test_default_is_the_whole_image_between_minus_one_and_one(backend: Backend) -> None:
    image = color()
    values = pixel_values(backend(), Image.fromarray(image))
    assert values.dtype == np.float32
    np.testing.assert_allclose(values[0], image.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rescaling_and_normalization_are_options(backend: Backend) -> None:
    image = color()
    channels = image.transpose(2, 0, 1).astype(np.float64)
    np.testing.assert_array_equal(pixel_values(backend(do_rescale=False, do_normalize=False), image)[0], channels)
    np.testing.assert_allclose(pixel_values(backend(do_normalize=False), image)[0], channels / 255, atol=1e-6)
    mean, std = [0.1, 0.2, 0.3], [0.4, 0.5, 0.6]
    expected = (channels / 255 - np.reshape(mean, (3, 1, 1))) / np.reshape(std, (3, 1, 1))
    np.testing.assert_allclose(pixel_values(backend(image_mean=mean, image_std=std), image)[0], expected, atol=1e-6)
    with pytest.raises(ValueError, match="must have 1 values, one per channel"):
        backend(num_channels=1, image_mean=mean, image_std=std)(image)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["pil", "1-bit", "numpy", "numpy-2d", "list", "torch", "torch-2d", "rgb"])
def test_gray_images_of_every_kind_keep_their_values(backend: Backend, kind: str) -> None:
    levels = 255 * (gray() > 127).astype(np.uint8) if kind == "1-bit" else gray()
    images = {
        "pil": Image.fromarray(levels),
        "1-bit": Image.fromarray(levels).convert("1"),
        "numpy": levels[None],
        "numpy-2d": levels,
        "list": [levels],
        "torch": torch.from_numpy(levels)[None],
        "torch-2d": torch.from_numpy(levels),
        "rgb": Image.fromarray(levels).convert("RGB"),
    }
    raw = {"do_rescale": False, "do_normalize": False}
    np.testing.assert_array_equal(pixel_values(backend(num_channels=1, **raw), images[kind])[0, 0], levels)
    np.testing.assert_array_equal(pixel_values(backend(num_channels=3, **raw), images[kind])[0], 3 * [levels])


@pytest.mark.parametrize("backend", BACKENDS)
def test_color_becomes_gray_as_pillow_does_it_but_for_rounding(backend: Backend) -> None:
    image = Image.fromarray(color())
    values = pixel_values(backend(num_channels=1, do_rescale=False, do_normalize=False), image)
    np.testing.assert_allclose(values[0, 0], np.asarray(image.convert("L")), atol=0.51)


@pytest.mark.parametrize("backend", BACKENDS)
def test_transparent_becomes_white(backend: Backend) -> None:
    image = Image.new("RGBA", (4, 3), (10, 20, 30, 0))
    assert (pixel_values(backend(), image) == 1).all()
    assert (pixel_values(backend(num_channels=1), image) == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_sixteen_bits_keep_their_precision(backend: Backend) -> None:
    levels = np.array([[0, 1, 255], [257, 40000, 65535]], dtype=np.uint16)
    processor = backend(num_channels=1, do_normalize=False)
    big_endian = Image.frombytes("I;16B", (3, 2), levels.astype(">u2").tobytes())
    for image in (Image.fromarray(levels), big_endian, levels, torch.from_numpy(levels)):
        np.testing.assert_allclose(pixel_values(processor, image)[0, 0], levels / 65535, rtol=1e-6)
    counts = Image.fromarray(1000 * levels.astype(np.int32))  # no known range: values are taken as they are
    processor = backend(num_channels=1, do_normalize=False, rescale_factor=1 / 65_535_000)
    np.testing.assert_allclose(pixel_values(processor, counts)[0, 0], levels / 65535, rtol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_other_numbers_of_channels_pass_through(backend: Backend) -> None:
    bands = np.random.default_rng(2).random((5, 8, 9), dtype=np.float32)
    raw = backend(num_channels=5, do_rescale=False, do_normalize=False)
    np.testing.assert_array_equal(pixel_values(raw, bands, input_data_format="channels_first")[0], bands)
    with pytest.raises(ValueError, match=r"`images` must have 4 channels .* got \(channels, .* \(5, 8, 9\)"):
        backend(num_channels=4)(bands, input_data_format="channels_first")


@pytest.mark.parametrize("backend", BACKENDS)
def test_resize_is_pillow_s_in_floating_point(backend: Backend) -> None:
    image, size = gray(40, 30), {"height": 12, "width": 16}
    processor = backend(num_channels=1, do_resize=True, size=size, do_rescale=False, do_normalize=False)
    expected = Image.fromarray(image.astype(np.float32)).resize((16, 12), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(pixel_values(processor, image)[0, 0], np.asarray(expected), atol=1e-3)
    labels = processor(image, gray(40, 30) // 64, return_tensors="pt")["labels"]
    nearest = Image.fromarray(gray(40, 30) // 64).resize((16, 12), Image.Resampling.NEAREST)
    np.testing.assert_array_equal(labels[0].numpy(), np.asarray(nearest))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("tile_size", [None, 48, {"height": 44, "width": 60}])
def test_stitched_outputs_are_the_images(backend: Backend, tile_size: Any) -> None:
    """A network that copies its input must give back the very images: two of different sizes."""
    processor = backend(**VALID, tile_size=tile_size)
    images = [gray(37, 50), gray(9, 71)]
    for batch in (images, images[:1], images[1:]) if tile_size else (images[:1], images[1:]):
        values = torch.from_numpy(pixel_values(processor, batch))
        assert values.shape[-2:] == ((44, 60) if isinstance(tile_size, dict) else (48, 48)) or tile_size is None
        sizes = [image.shape for image in batch]
        maps = processor.post_process_probabilities(perfect_outputs(values, 20), sizes)
        for image, one in zip(batch, maps, strict=True):
            expected = 1 / (1 + np.exp(1 - image / 127.5))
            np.testing.assert_allclose(one.numpy(), expected[None], atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_padded_tiles_drop_their_context(backend: Backend) -> None:
    processor = backend(num_channels=1, depth=2, tile_size=64)
    values = torch.from_numpy(pixel_values(processor, gray(37, 50)))
    corrupted = values.clone()
    corrupted[..., :24, :] = corrupted[..., -24:, :] = corrupted[..., :24] = corrupted[..., -24:] = torch.nan
    (one,) = processor.post_process_probabilities(SimpleNamespace(logits=corrupted), [(37, 50)])
    np.testing.assert_allclose(one[0].numpy(), 1 / (1 + np.exp(1 - gray(37, 50) / 127.5)), atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("arguments", [{}, VALID, {**VALID, "tile_size": 48}, {"depth": 2, "tile_size": 64}])
def test_labels_lie_under_the_outputs(backend: Backend, arguments: dict[str, Any]) -> None:
    """Labels that are the image's own gray levels must be what each output sees, mirrored where it is."""
    processor = backend(**{"num_channels": 1, "do_rescale": False, "do_normalize": False} | arguments)
    inputs = processor(gray(37, 50), segmentation_maps=Image.fromarray(gray(37, 50)), return_tensors="pt")
    crop = 20 if "padding" in arguments else 0
    assert inputs["labels"].dtype == torch.int64
    assert torch.equal(inputs["labels"], perfect_outputs(inputs["pixel_values"], crop).logits[:, 0].long())
    config = tiny_unet_config(num_channels=1, num_labels=256, padding=processor.padding)
    assert UNetForSemanticSegmentation(config)(**inputs).loss.isfinite()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.uint16, np.int32, np.int64])
def test_segmentation_maps_may_be_of_any_integer_type(backend: Backend, dtype: type[np.generic]) -> None:
    classes = (gray() // 128).astype(dtype)
    for maps in (classes, torch.from_numpy(classes), [classes]):
        labels = backend()(color(), segmentation_maps=maps, return_tensors="pt")["labels"]
        assert labels.dtype == torch.int64
        np.testing.assert_array_equal(labels[0].numpy(), classes)
    with pytest.raises(ValueError, match=r"`segmentation_maps` must hold class indices, got .*float32"):
        backend()(color(), segmentation_maps=classes.astype(np.float32))


@pytest.mark.parametrize("backend", BACKENDS)
def test_segmentation_maps_must_fit_their_images(backend: Backend) -> None:
    message = r"expected \(channels, height, width\) \[\(1, 13, 17\)\], got "
    for maps in (gray(13, 16), Image.fromarray(color()), [gray(), gray()]):
        with pytest.raises(ValueError, match=message):
            backend()(color(), segmentation_maps=maps)


def test_masks_of_0_and_255_are_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    monkeypatch.setattr(
        "u2net_hf.models.unet.image_processing_unet.logger", SimpleNamespace(warning_once=warnings.append)
    )
    processor = UNetImageProcessorPil()
    processor(color(), segmentation_maps=(gray() > 99).astype(np.uint8))
    processor(color(), segmentation_maps=gray())
    assert warnings == []
    processor(color(), segmentation_maps=255 * (gray() > 99).astype(np.uint8))
    assert "divide a mask of 0 and 255 by 255" in warnings[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_of_several_sizes_are_no_batch_without_tiles(backend: Backend) -> None:
    images = [color(), color(20, 9)]
    with pytest.raises(ValueError, match=r"inputs of \[\(13, 17\), \(20, 9\)\]. Set `tile_size`.* or `do_resize`"):
        backend()(images, return_tensors="pt")
    assert [tuple(one.shape) for one in backend()(images)["pixel_values"]] == [(3, 13, 17), (3, 20, 9)]
    assert pixel_values(backend(do_resize=True, size=8), images).shape == (2, 3, 8, 8)
    assert pixel_values(backend(depth=2, tile_size=96), images).shape == (2, 3, 96, 96)


@pytest.mark.parametrize("num_labels", [1, 3])
def test_probabilities_and_labels(num_labels: int) -> None:
    logits = torch.randn(2, num_labels, 4, 6)
    outputs = SimpleNamespace(logits=logits.to(torch.bfloat16))
    logits = outputs.logits.float()
    soft = UNetImageProcessorPil().post_process_probabilities(outputs)
    hard = UNetImageProcessorPil().post_process_semantic_segmentation(outputs, target_sizes=torch.tensor(2 * [[4, 6]]))
    for one, probabilities, labels in zip(logits, soft, hard, strict=True):
        exponentials = one.exp()
        total = 1 + exponentials if num_labels == 1 else exponentials.sum(dim=0)
        torch.testing.assert_close(probabilities, exponentials / total)
        expected = (probabilities[0] > 0.5).long() if num_labels == 1 else probabilities.argmax(dim=0)
        assert torch.equal(labels, expected)


def test_saliency_is_the_probability_of_all_but_the_background() -> None:
    processor = UNetImageProcessorPil()
    for num_labels in (1, 3):
        logits = torch.randn(1, num_labels, 4, 6)
        exponentials = logits[0].exp()
        expected = exponentials[0] / (1 + exponentials[0]) if num_labels == 1 else exponentials[1:].sum(dim=0)
        expected = expected if num_labels == 1 else expected / exponentials.sum(dim=0)
        outputs = SimpleNamespace(logits=logits)
        torch.testing.assert_close(processor.post_process_saliency(outputs, [(4, 6)])[0], expected)
        (stretched,) = processor.post_process_saliency(outputs, do_min_max=True)
        assert (stretched.min(), stretched.max()) == (0, 1)
    flat = SimpleNamespace(logits=torch.zeros(1, 1, 4, 6))
    assert (processor.post_process_saliency(flat, do_min_max=True)[0] == 0.5).all()


def test_outputs_of_resized_images_are_resized_back() -> None:
    """A plane stays a plane, whichever way it is resized."""
    plane = torch.linspace(-1, 1, 8).expand(1, 1, 8, 8)
    for arguments in ({}, {"do_resize": True, "size": 8}):
        processor = UNetImageProcessorPil(**arguments)
        (one,) = processor.post_process_probabilities(SimpleNamespace(logits=plane), [(4, 32)])
        middle = one.logit()[0, :, 4:-4]
        torch.testing.assert_close(middle, torch.linspace(-31 / 28, 31 / 28, 32)[4:-4].expand(4, 24))
    valid = UNetImageProcessorPil(**VALID, do_resize=True, size={"height": 10, "width": 12})
    values = torch.from_numpy(pixel_values(valid, gray(40, 48)))
    (one,) = valid.post_process_probabilities(perfect_outputs(values, 20), [(40, 48)])
    assert one.shape == (1, 40, 48)


def test_shrinking_an_output_is_pillow_s_resize() -> None:
    logits = torch.randn(1, 1, 20, 30)
    (small,) = UNetImageProcessorPil().post_process_probabilities(SimpleNamespace(logits=logits), [(5, 9)])
    expected = np.asarray(Image.fromarray(logits[0, 0].numpy()).resize((9, 5), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(small[0].numpy(), 1 / (1 + np.exp(-expected)), atol=1e-5)


def test_outputs_that_do_not_fit_the_target_sizes_are_refused() -> None:
    processor = UNetImageProcessorPil(**VALID, tile_size=48)
    logits = torch.zeros(30, 2, 8, 8)
    assert processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(37, 45)])[0].shape == (
        37,
        45,
    )
    with pytest.raises(ValueError, match=r"sizes \[\(37, 53\)\] have 35 outputs .* `outputs` has 30 of \(8, 8\)"):
        processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(37, 53)])
    with pytest.raises(ValueError, match=r"outputs of the size \[\(8, 8\)\], but `outputs` has 30 of \(12, 12\)"):
        processor.post_process_semantic_segmentation(SimpleNamespace(logits=torch.zeros(30, 2, 12, 12)), [(37, 45)])
    with pytest.raises(ValueError, match="have 1 outputs of the size"):
        UNetImageProcessorPil().post_process_semantic_segmentation(SimpleNamespace(logits=logits), [(37, 45)])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"padding": "reflect"}, r"`padding` must be one of \('same', 'valid'\), got 'reflect'"),
        ({"upsampling": "nearest"}, "`upsampling` must be one of"),
        ({"depth": 0}, "`depth` must be at least 1, got 0"),
        ({"num_channels": 0}, "`num_channels` must be at least 1, got 0"),
        ({"tile_size": 572}, "`tile_size` 572 does not suit a network with padding='same'.*: use 560 or 576"),
        ({"tile_size": {"shortest_edge": 512}}, "`tile_size` must be"),
        ({"do_resize": True, "size": {"shortest_edge": 512}}, "`size` must be"),
    ],
)
def test_bad_options_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetImageProcessorPil(**arguments)
    with pytest.raises(ValueError, match=message):
        UNetImageProcessorPil()(color(), **arguments)


def test_round_trip_and_options_from_the_network(tmp_path: Path) -> None:
    config = tiny_unet_config(padding="valid", num_channels=1, upsampling="bilinear")
    processor = UNetImageProcessorPil.from_config(config, tile_size=64, image_mean=[0.1])
    assert (processor.depth, processor.padding, processor.upsampling, processor.num_channels) == (
        2,
        "valid",
        "bilinear",
        1,
    )
    processor.save_pretrained(tmp_path)
    loaded = UNetImageProcessorPil.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert dict(loaded.tile_size) == {"height": 64, "width": 64}
    np.testing.assert_array_equal(pixel_values(loaded, gray()), pixel_values(processor, gray()))


def test_tiles_can_go_through_the_network_in_parts() -> None:
    config = tiny_unet_config(padding="valid", num_channels=1)
    model, processor = (
        UNetForSemanticSegmentation(config).eval(),
        UNetImageProcessorPil.from_config(config, tile_size=48),
    )
    inputs = processor(gray(37, 50), return_tensors="pt")
    with torch.inference_mode():
        whole = model(**inputs)
        parts = torch.cat([model(part).logits for part in inputs["pixel_values"].split(4)])
    one, other = (
        processor.post_process_probabilities(outputs, [(37, 50)])[0]
        for outputs in (whole, SemanticSegmenterOutput(logits=parts))
    )
    torch.testing.assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("network", "options"), [({"padding": "valid"}, {"tile_size": 48}), ({"padding": "valid"}, {}), ({}, {})]
)
def test_pipeline_takes_images_of_any_size(backend: Backend, network: dict[str, Any], options: dict[str, Any]) -> None:
    config = tiny_unet_config(**network)
    model, processor = UNetForSemanticSegmentation(config).eval(), backend.from_config(config, **options)
    segment = pipeline("image-segmentation", model=model, image_processor=processor)
    photos = [Image.fromarray(color(*size)) for size in ((37, 50), (8, 61))]
    for photo, entries in zip(photos, segment(photos), strict=True):
        with torch.inference_mode():
            outputs = model(**processor(photo, return_tensors="pt"))
        (labels,) = processor.post_process_semantic_segmentation(outputs, [(photo.height, photo.width)])
        names = [config.id2label[label] for label in labels.unique().tolist()]
        assert [entry["label"] for entry in entries] == names
        for entry in entries:
            np.testing.assert_array_equal(np.asarray(entry["mask"]) == 255, labels == config.label2id[entry["label"]])


def test_pipeline_batches_inputs_of_one_size() -> None:
    config = tiny_unet_config()
    model = UNetForSemanticSegmentation(config).eval()
    photos = [Image.fromarray(color(*size)) for size in ((37, 50), (8, 61), (20, 20))]
    for options in ({"do_resize": True, "size": 32}, {"tile_size": 128}):
        processor = UNetImageProcessorPil.from_config(config, **options)
        segment = pipeline("image-segmentation", model=model, image_processor=processor)
        for alone, batched in zip(segment(photos), segment(photos, batch_size=2), strict=True):
            assert [entry["mask"].tobytes() for entry in alone] == [entry["mask"].tobytes() for entry in batched]
    processor = UNetImageProcessorPil.from_config(config, tile_size=64)
    segment = pipeline("image-segmentation", model=model, image_processor=processor)
    with pytest.raises(ValueError, match="a pipeline needs batch_size=1"):
        segment(photos, batch_size=2)


def test_the_backends_agree() -> None:
    pytest.importorskip("torchvision")
    for arguments in ({}, VALID, {**VALID, "tile_size": 48}, {"do_resize": True, "size": {"height": 20, "width": 9}}):
        one = pixel_values(UNetImageProcessorPil(**arguments), Image.fromarray(color()))
        other = pixel_values(UNetImageProcessor(**arguments), Image.fromarray(color()))
        np.testing.assert_allclose(one, other, atol=1e-5)
