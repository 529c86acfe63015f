"""The image processors of U²-Net against Pillow, PyTorch and the authors' formula."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils import is_torchvision_available

from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessor, U2NetImageProcessorPil

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

BACKENDS = [
    U2NetImageProcessorPil,
    pytest.param(
        U2NetImageProcessor,
        marks=pytest.mark.skipif(not is_torchvision_available(), reason="needs torchvision"),
    ),
]


def photo(width: int = 41, height: int = 33, peak: int = 200) -> Image.Image:
    """A smooth drawing whose brightest value is `peak`."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 5) + np.cos(y / 7), np.sin((x + y) / 6), np.cos(x / 9) * np.sin(y / 3)], axis=-1)
    scaled = (waves - waves.min()) / (waves.max() - waves.min()) * peak
    return Image.fromarray(scaled.round().astype(np.uint8))


def pixel_values(processor: U2NetImageProcessorPil, image: Image.Image, **kwargs: object) -> np.ndarray:
    return processor(image, return_tensors="pt", **kwargs)["pixel_values"][0].double().numpy()


@pytest.mark.parametrize("backend", BACKENDS)
def test_default_is_a_320x320_input(backend: type[U2NetImageProcessorPil]) -> None:
    batch = backend()([photo(), photo(20, 60)], return_tensors="pt")["pixel_values"]
    assert batch.shape == (2, 3, 320, 320)
    assert batch.dtype == torch.float32


@pytest.mark.parametrize("backend", BACKENDS)
def test_with_antialiasing_is_pillow_s_resize(backend: type[U2NetImageProcessorPil]) -> None:
    image = photo()
    resized = np.asarray(image.resize((16, 12), Image.Resampling.BILINEAR), dtype=np.float64)
    expected = ((resized / resized.max() - MEAN) / STD).transpose(2, 0, 1)
    one_gray_level = 1.01 / resized.max() / STD.min()
    values = pixel_values(backend(size={"height": 12, "width": 16}), image)
    np.testing.assert_allclose(values, expected, atol=1e-5 if backend is U2NetImageProcessorPil else one_gray_level)


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_antialiasing_is_the_authors_formula(backend: type[U2NetImageProcessorPil]) -> None:
    """Four neighbors of each new pixel's center, divided by the maximum of what was resized, ImageNet statistics."""
    image = photo()
    old, height, width = np.asarray(image, dtype=np.float64), 12, 16
    resized = np.empty((height, width, 3))
    for row in range(height):
        for column in range(width):
            y, x = (row + 0.5) * old.shape[0] / height - 0.5, (column + 0.5) * old.shape[1] / width - 0.5
            top, left = int(y), int(x)
            dy, dx = y - top, x - left
            upper = (1 - dx) * old[top, left] + dx * old[top, left + 1]
            lower = (1 - dx) * old[top + 1, left] + dx * old[top + 1, left + 1]
            resized[row, column] = (1 - dy) * upper + dy * lower
    expected = ((resized / resized.max() - MEAN) / STD).transpose(2, 0, 1)
    processor = backend(size={"height": height, "width": width}, do_antialias=False)
    np.testing.assert_allclose(pixel_values(processor, image), expected, atol=2e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_scale_by_max_is_an_option_and_a_black_image_stays_black(backend: type[U2NetImageProcessorPil]) -> None:
    plain = backend(size={"height": 8, "width": 8}, do_normalize=False)
    assert pixel_values(plain, photo(peak=100)).max() == pytest.approx(1)
    assert pixel_values(plain, photo(peak=100), do_scale_by_max=False).max() <= 100 / 255
    black = Image.new("RGB", (9, 9))
    assert not pixel_values(plain, black).any()
    assert np.isfinite(pixel_values(backend(), black)).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(backend: type[U2NetImageProcessorPil], mode: str) -> None:
    values = pixel_values(backend(), photo().convert("L").convert(mode))
    assert values.shape == (3, 320, 320)
    assert np.isfinite(values).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_sizes_without_height_and_width_are_refused(backend: type[U2NetImageProcessorPil]) -> None:
    with pytest.raises(ValueError, match="`size` must be"):
        backend(size={"shortest_edge": 320})(photo())


def test_the_backends_agree() -> None:
    pytest.importorskip("torchvision")
    for arguments in ({"do_antialias": False}, {"do_antialias": False, "do_truncate": True}, {}):
        size = {"height": 20, "width": 24}
        difference = pixel_values(U2NetImageProcessorPil(size=size, **arguments), photo()) - pixel_values(
            U2NetImageProcessor(size=size, **arguments), photo()
        )
        assert abs(difference).max() < (1.01 / 190 / STD.min() if not arguments else 1e-4)


def test_saliency_is_the_sigmoid_at_the_original_sizes() -> None:
    logits = torch.randn(2, 1, 6, 8)
    maps = U2NetImageProcessorPil().post_process_saliency(SimpleNamespace(logits=logits), [(6, 8), (12, 24)])
    torch.testing.assert_close(maps[0], 1 / (1 + (-logits[0, 0]).exp()))
    assert maps[1].shape == (12, 24)
    # upsampling keeps the mean, and never leaves the range of the map
    assert maps[1].min() >= logits[1].sigmoid().min()
    assert maps[1].max() <= logits[1].sigmoid().max()


def test_shrinking_a_map_is_pillow_s_resize() -> None:
    saliency = torch.rand(20, 30)
    outputs = SimpleNamespace(logits=saliency.logit()[None, None])
    (small,) = U2NetImageProcessorPil().post_process_saliency(outputs, [(5, 9)])
    expected = np.asarray(Image.fromarray(saliency.numpy()).resize((9, 5), Image.Resampling.BILINEAR))
    np.testing.assert_allclose(small.numpy(), expected, atol=1e-5)


def test_min_max_stretches_each_map_but_not_a_flat_one() -> None:
    logits = torch.stack([torch.linspace(-4, -2, 12).view(1, 3, 4), torch.full((1, 3, 4), -3.0)])
    processor, outputs = U2NetImageProcessorPil(), SimpleNamespace(logits=logits)
    stretched, flat = processor.post_process_saliency(outputs, do_min_max=True)
    assert (stretched.min(), stretched.max()) == (0, 1)
    torch.testing.assert_close(flat, torch.full((3, 4), -3.0).sigmoid())
    assert processor.post_process_saliency(outputs)[0].max() < 0.2


def test_several_channels_are_salient_where_they_are_not_background() -> None:
    logits = torch.randn(1, 4, 3, 5)
    (saliency,) = U2NetImageProcessorPil().post_process_saliency(SimpleNamespace(logits=logits))
    exponentials = logits[0].exp()
    torch.testing.assert_close(saliency, exponentials[1:].sum(0) / exponentials.sum(0))


def test_semantic_maps_are_hard_labels() -> None:
    processor = U2NetImageProcessorPil()
    one = torch.tensor([[[[-2.0, 3.0], [0.1, -0.1]]]], dtype=torch.bfloat16)
    (labels,) = processor.post_process_semantic_segmentation(SimpleNamespace(logits=one))
    assert labels.tolist() == [[0, 1], [1, 0]]
    assert labels.dtype == torch.int64
    several = torch.zeros(1, 3, 2, 2)
    several[0, 2, 0, 0] = several[0, 1, 1, 1] = 5
    (labels,) = processor.post_process_semantic_segmentation(SimpleNamespace(logits=several), [(2, 2)])
    assert labels.tolist() == [[2, 0], [0, 1]]


def test_target_sizes_must_fit_the_batch() -> None:
    with pytest.raises(ValueError, match="1 sizes for 2 saliency maps"):
        U2NetImageProcessorPil().post_process_saliency(SimpleNamespace(logits=torch.zeros(2, 1, 4, 4)), [(4, 4)])


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_go_along(backend: type[U2NetImageProcessorPil]) -> None:
    """Resized to the nearest pixel, as Pillow does; nothing else is done to their numbers."""
    masks = [Image.fromarray(np.random.default_rng(1).integers(0, 4, (33, 41), dtype=np.uint8)), np.eye(20, 60)]
    masks[1] = masks[1].astype(np.int64) * 255
    masks[1][0, 1] = 2
    batch = backend(size={"height": 16, "width": 24})([photo(), photo(60, 20)], masks, return_tensors="pt")
    assert batch["pixel_values"].shape == (2, 3, 16, 24)
    assert batch["labels"].dtype == torch.int64
    for mask, labels in zip(masks, batch["labels"], strict=True):
        picture = Image.fromarray(np.asarray(mask).astype(np.int32))
        np.testing.assert_array_equal(labels, np.asarray(picture.resize((24, 16), Image.Resampling.NEAREST)))
    unchanged = backend(do_resize=False)(photo(), segmentation_maps=masks[0])
    np.testing.assert_array_equal(unchanged["labels"][0], np.asarray(masks[0]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_masks_that_do_not_fit_are_refused(
    backend: type[U2NetImageProcessorPil], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ValueError, match=r"sizes of the images: expected .*\(1, 33, 41\).*got .*\(1, 8, 8\)"):
        backend()(photo(), np.zeros((8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"must hold class indices, got torch\.float"):
        backend()(photo(), np.zeros((33, 41)))
    warnings: list[str] = []
    logger = SimpleNamespace(warning_once=warnings.append)
    monkeypatch.setattr("u2net_hf.models.u2net.image_processing_u2net.logger", logger)
    backend()(photo(), np.full((33, 41), 255))
    assert "divide a mask of 0 and 255 by 255" in warnings[0]


@pytest.mark.parametrize("backend", BACKENDS)
def test_gray_arrays_and_16_bits_are_what_they_are_as_rgb_pictures(backend: type[U2NetImageProcessorPil]) -> None:
    gray = np.asarray(photo().convert("L"))
    expected = pixel_values(backend(), Image.fromarray(gray).convert("RGB"))
    deep = gray.astype(np.uint16) * 257
    for same in (gray, torch.tensor(gray)):
        np.testing.assert_array_equal(pixel_values(backend(), same), expected)
    # Fractions of a gray level are kept, where the picture of 8 bits is rounded.
    one_gray_level = 1.01 / gray.max() / STD.min()
    for same in (deep, Image.fromarray(deep), deep[None], np.dstack(3 * [deep])):
        np.testing.assert_allclose(pixel_values(backend(), same), expected, atol=one_gray_level)
    assert pixel_values(backend(do_normalize=False), deep // 256).max() == pytest.approx(1)
    faint = backend(do_normalize=False, do_scale_by_max=False)
    assert pixel_values(faint, np.full((9, 9), 6553, np.uint16)).mean() == pytest.approx(6553 / 65535)


@pytest.mark.parametrize(
    "options",
    [
        {"image_std": 0.0},
        {"image_std": [0.2, float("nan"), 0.2]},
        {"image_std": 1e-40},
        {"image_mean": 1e39},
        {"size": {"height": 10**9, "width": 10**9}},
    ],
)
def test_options_that_no_map_can_come_of(options: dict[str, object], tmp_path: Path) -> None:
    """They are refused when the processor is made, or read from a file: before an export or a training begins."""
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        U2NetImageProcessorPil(**options)
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        U2NetImageProcessorPil()(photo(), return_tensors="pt", **options)
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(options))
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` must be"):
        U2NetImageProcessorPil.from_pretrained(tmp_path)


def test_a_certain_map_stays_within_one_at_every_size() -> None:
    """Weights of an interpolation do not quite sum to one: a map of ones became 1.0000002 at some sizes."""
    logits = torch.full((1, 1, 32, 32), 100.0)
    sizes = [(height, width) for height in range(20, 120, 7) for width in range(20, 120, 9)]
    for size in sizes:
        (found,) = U2NetImageProcessorPil().post_process_saliency(SimpleNamespace(logits=logits), [size])
        assert found.max() <= 1
        assert found.min() > 1 - 1e-5
