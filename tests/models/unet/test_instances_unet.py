"""Tests of instances: the summits against scikit-image's h-maxima, and drawn cells found again."""

import heapq
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_discs import draw_cells, draw_discs
from scipy import ndimage
from skimage.morphology import reconstruction
from tiny_models import tiny_unet_config
from transformers import AutoImageProcessor, pipeline
from transformers.modeling_outputs import SemanticSegmenterOutput

from u2net_hf import UNetConfig, UNetForSemanticSegmentation, UNetImageProcessorPil
from u2net_hf.data.instances import depth_levels
from u2net_hf.models.unet.instances_unet import (
    STEP,
    InstanceOptions,
    _summits,
    expected_depth,
    separate_instances,
)
from u2net_hf.models.unet.tiling_unet import average_rotations

EXACT = InstanceOptions(smoothing=0, min_area=0, max_hole_area=0)
CELLS = draw_discs((80, 100), [(20, 20, 12), (20, 43, 12), (50, 30, 16), (60, 75, 18), (12, 80, 5), (70, 3, 9)])


def levels_as_logits(levels: np.ndarray, num_labels: int, sureness: float = 12.0) -> torch.Tensor:
    """What a network that knows the levels would say, (1, labels, height, width)."""
    one_hot = np.arange(num_labels)[:, None, None] == levels
    return torch.from_numpy(sureness * one_hot.astype(np.float32))[None]


def found(instances: np.ndarray, options: InstanceOptions = EXACT, num_levels: int = 4) -> np.ndarray:
    levels = depth_levels(instances, num_levels)
    return separate_instances((levels > 0).astype(float), levels / num_levels, options)[0]


def same_objects(left: np.ndarray, right: np.ndarray) -> bool:
    """Whether two label maps have the same objects, whatever their numbers."""
    pairs = np.unique(np.stack((left.ravel(), right.ravel())), axis=1)
    return len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1] and (pairs[:, 0] == 0).all()


def test_expected_depth_is_the_mean_of_the_levels() -> None:
    probabilities = np.array([0.1, 0.2, 0.3, 0.4]).reshape(4, 1, 1)
    np.testing.assert_allclose(expected_depth(probabilities), (0.2 * 1 + 0.3 * 2 + 0.4 * 3) / 3, rtol=1e-6)
    np.testing.assert_allclose(expected_depth(probabilities[2:]), 0.4)  # background and one level
    np.testing.assert_allclose(expected_depth(probabilities[3:]), 0.4)  # a sigmoid


@pytest.mark.parametrize("seed", range(12))
def test_summits_are_the_h_maxima_of_scikit_image(seed: int) -> None:
    """Those whose prominence is within a step of the wanted one may be kept or not; all others are decided."""
    rng = np.random.default_rng(seed)
    depth = ndimage.gaussian_filter(rng.random((60, 70)), 2.5).astype(np.float32)
    depth = (depth - depth.min()) / np.ptp(depth)

    def h_maxima(height: float) -> np.ndarray:
        """Highest points of the h-domes; `skimage.morphology.h_maxima` rounds."""
        lowered = np.maximum(depth - np.float32(height), 0)
        flooded = reconstruction(lowered, depth)
        return (flooded == lowered) & (depth > height)

    places = set(np.flatnonzero(_summits(depth, 0.2)))
    assert set(np.flatnonzero(h_maxima(0.2))) <= places <= set(np.flatnonzero(h_maxima(0.2 - STEP)))
    assert len(places) > 3


def highest_pass(depth: np.ndarray, start: tuple[int, int], goals: set[tuple[int, int]]) -> float:
    """The height up to which one can stay above on the best way from a pixel to any of others, across pixel sides."""
    reached, queue = {start}, [(-depth[start], start)]
    lowest = depth[start]
    while queue:
        height, (row, column) = heapq.heappop(queue)
        lowest = min(lowest, -height)
        if (row, column) in goals:
            return float(lowest)
        for pixel in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
            if pixel not in reached and 0 <= pixel[0] < depth.shape[0] and 0 <= pixel[1] < depth.shape[1]:
                reached.add(pixel)
                heapq.heappush(queue, (-depth[pixel], pixel))
    return -np.inf


@pytest.mark.parametrize("seed", range(24))
def test_summits_are_those_of_their_definition(seed: int) -> None:
    """Pixel by pixel: no higher one may be reached above any of the heights that are looked at too early."""
    rng = np.random.default_rng(seed)
    shape = [(11, 14), (1, 20), (20, 2), (9, 9)][seed % 4]
    depth = ndimage.gaussian_filter(rng.random(shape), [0, 0.6, 1][seed % 3])
    depth = (depth - depth.min()) / np.ptp(depth)
    if seed % 2:  # plateaus, and objects that touch at their corners
        depth = np.where(depth > 0.4, np.round(depth * 8) / 8, 0)
    depth, prominence = depth.astype(np.float32), [0.0, 0.1, 0.25, 0.5][seed // 6]
    tops = (depth == ndimage.maximum_filter(depth, 3)) & (depth > prominence)
    parts, count = ndimage.label(tops, np.ones((3, 3)))
    places = [tuple(np.argwhere(parts == number)[0].tolist()) for number in range(1, count + 1)]
    places.sort(key=lambda place: (-depth[place], place))
    expected = []
    for number, place in enumerate(places):
        joined = highest_pass(depth, place, set(places[:number]))
        heights = [1 - STEP * (k + 1) for k in range(round(1 / STEP))]
        if not any(joined > max(height, 0) and depth[place] - height < prominence for height in heights):
            expected.append(place)
    summits = _summits(depth, prominence)
    assert [tuple(np.argwhere(summits == number)[0].tolist()) for number in range(1, summits.max() + 1)] == expected
    assert expected


@pytest.mark.parametrize("num_levels", [2, 4, 8])
def test_touching_cells_are_found_again(num_levels: int) -> None:
    assert same_objects(CELLS > 0, found(CELLS, num_levels=1) > 0)
    objects = found(CELLS, num_levels=num_levels)
    assert objects.max() == CELLS.max()
    for number in range(1, CELLS.max() + 1):
        cell = number == CELLS
        other = objects == np.bincount(objects[cell]).argmax()
        assert (cell & other).sum() / (cell | other).sum() > 0.95
    # Connected components cannot do that: two of the cells touch.
    assert ndimage.label(CELLS > 0)[1] < CELLS.max()


def test_a_shallow_valley_does_not_part() -> None:
    """Two summits of 1 with a saddle of 0.7: an object of its own needs a prominence of less than 0.3."""
    depth = np.full((7, 31), 0.7)
    depth[2:5, 4:8] = depth[2:5, 23:27] = 1
    for prominence, count in ((0.2, 2), (0.4, 1)):
        options = InstanceOptions(min_prominence=prominence, smoothing=0, min_area=0)
        assert separate_instances(np.ones(depth.shape), depth, options)[0].max() == count


def test_small_objects_holes_and_the_border() -> None:
    holed = CELLS.copy()
    holed[50, 28:32] = 0  # 4 pixels
    wanted = found(CELLS)

    def objects(**options: Any) -> np.ndarray:
        depth = depth_levels(CELLS, 4) / 4
        return separate_instances((holed > 0).astype(float), depth, InstanceOptions(smoothing=0, **options))[0]

    assert same_objects(objects(max_hole_area=4), wanted)
    assert (objects(max_hole_area=3)[50, 28:32] == 0).all()
    areas = np.bincount(CELLS.ravel())[1:]
    assert objects(min_area=int(areas[4]) + 1).max() == 5  # without the smallest one
    assert objects(min_area=int(areas[4])).max() == 6
    assert objects(border=1).max() == 5  # one touches the left border
    assert objects(border=8).max() == 4  # and one comes within 8 pixels of the top


def test_doubtful_objects_are_left_out_and_scores_are_means() -> None:
    foreground = np.select([CELLS == 1, CELLS == 2, CELLS > 0], [0.7, 0.8, 1.0], 0.0)
    depth = depth_levels(CELLS, 4) / 4
    objects, scores = separate_instances(foreground, depth, InstanceOptions(smoothing=0, min_score=0.75))
    assert objects.max() == len(scores) == 5
    means = ndimage.mean(foreground, objects, np.arange(1, 6))
    np.testing.assert_allclose(scores, means)
    assert scores.min() > 0.75


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 17)])
def test_nothing_and_everything(shape: tuple[int, int]) -> None:
    nothing, scores = separate_instances(np.zeros(shape), np.zeros(shape), InstanceOptions())
    assert not nothing.any()
    assert len(scores) == 0
    everything, _ = separate_instances(np.ones(shape), np.ones(shape), EXACT)
    assert (everything == 1).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_prominence": 1}, "`min_prominence` must be at least 0 and below 1, got 1"),
        ({"mask_threshold": -0.1}, "`mask_threshold`"),
        ({"min_area": -1}, "`min_area` must not be negative, got -1"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNetImageProcessorPil(instances=options)(CELLS.astype(np.uint8))


def test_the_form_of_transformers() -> None:
    processor = UNetImageProcessorPil(instances={"smoothing": 0})
    logits = levels_as_logits(depth_levels(CELLS, 4), 5)
    outputs = SemanticSegmenterOutput(logits=torch.cat((logits, torch.zeros_like(logits))))
    one, everything = processor.post_process_instance_segmentation(outputs, target_sizes=[(80, 100)] * 2)
    assert one["segmentation"].dtype == torch.int32
    assert one["segmentation"].shape == (80, 100)
    assert [segment["id"] for segment in one["segments_info"]] == list(range(1, 7))
    assert all(segment["label_id"] == 4 and 0.99 < segment["score"] <= 1 for segment in one["segments_info"])
    # A fifth for each label everywhere: an object of score 0.8.
    assert everything["segments_info"] == [{"id": 1, "label_id": 4, "score": 0.8}]
    assert not processor.post_process_instance_segmentation(outputs, threshold=0.9)[1]["segments_info"]
    nothing = processor.post_process_instance_segmentation(outputs, mask_threshold=0.9)[1]
    assert not nothing["segmentation"].any()


def test_only_a_network_for_objects_has_instances() -> None:
    """`pipeline` asks for the method by its name, and takes it before semantic segmentation."""
    assert not hasattr(UNetImageProcessorPil(), "post_process_instance_segmentation")
    with pytest.raises(AttributeError, match="set `instances`"):
        _ = UNetImageProcessorPil().post_process_instance_segmentation
    assert hasattr(UNetImageProcessorPil(instances={}), "post_process_instance_segmentation")


def test_saved_options_and_the_pipeline(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = UNetForSemanticSegmentation(tiny_unet_config(num_channels=1, num_labels=4)).eval()
    processor = UNetImageProcessorPil.from_config(model.config, percentiles=(1, 99.8), instances={"min_score": 0.1})
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoImageProcessor.from_pretrained(tmp_path, backend="pil")
    assert (again.percentiles, again.instances) == ([1, 99.8], {"min_score": 0.1})
    image = draw_cells(CELLS)
    segment = pipeline("image-segmentation", model=model, image_processor=again)
    result = segment(image, subtask="instance", threshold=0.2)
    outputs = model(**processor(image, return_tensors="pt"))
    (expected,) = processor.post_process_instance_segmentation(outputs, threshold=0.2, target_sizes=[(80, 100)])
    assert len(result) == len(expected["segments_info"])
    for one, segment_info in zip(result, expected["segments_info"], strict=True):
        mask = (expected["segmentation"] == segment_info["id"]).numpy()
        np.testing.assert_array_equal(np.asarray(one["mask"]) > 0, mask)
        assert one["score"] == segment_info["score"]


def tiled_and_whole(config: UNetConfig, tile_size: int) -> list[UNetImageProcessorPil]:
    return [
        UNetImageProcessorPil.from_config(config, tile_size=size, instances={"min_score": 0, "min_prominence": 0.02})
        for size in (tile_size, None)
    ]


@pytest.mark.parametrize("size", [(80, 100), (61, 47)])
def test_tiles_give_the_objects_of_the_whole_image(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    config = UNetConfig.original(hidden_sizes=[4, 8, 16], num_labels=4, dropout=0.0)
    model = UNetForSemanticSegmentation(config).eval()
    image, results = draw_cells(CELLS[: size[0], : size[1]]), []
    for processor in tiled_and_whole(config, 68):
        with torch.no_grad():
            outputs = model(**processor(image, return_tensors="pt"))
        results.append(processor.post_process_instance_segmentation(outputs, target_sizes=[size])[0]["segmentation"])
    assert results[0].max() > 1
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize(("num_labels", "padding"), [(1, "same"), (3, "same"), (3, "valid")])
def test_average_of_rotations_is_that_of_the_turned_images(num_labels: int, padding: str) -> None:
    torch.manual_seed(2)
    config = UNetConfig(hidden_sizes=[4, 8], num_channels=1, num_labels=num_labels, padding=padding)
    model = UNetForSemanticSegmentation(config).eval()
    pixels = torch.randn(2, 1, 36, 44)

    @torch.no_grad()
    def network(tiles: torch.Tensor) -> torch.Tensor:
        return model(tiles).logits

    def activate(logits: torch.Tensor) -> np.ndarray:
        return (logits.sigmoid() if num_labels == 1 else logits.softmax(1)).numpy()

    maps = []
    for turns in range(4):
        for turned, back in (
            (lambda x: x, lambda x: x),
            (lambda x: np.flip(x, 2), lambda x: np.flip(x, 2)),
        ):
            view = turned(np.rot90(pixels.numpy(), turns, (2, 3))).copy()
            maps.append(np.rot90(back(activate(network(torch.from_numpy(view)))), -turns, (2, 3)))
    averaged = average_rotations(network, pixels)
    assert averaged.shape == network(pixels).shape
    np.testing.assert_allclose(activate(averaged), np.mean(maps, axis=0), atol=1e-6)
    assert np.abs(activate(averaged) - activate(network(pixels))).max() > 1e-3
    # A picture that is turned gives the same map, turned: all positions of the square are alike.
    turned_map = activate(average_rotations(network, torch.rot90(pixels, 1, (2, 3))))
    np.testing.assert_allclose(turned_map, np.rot90(activate(averaged), 1, (2, 3)), atol=1e-6)


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_averaging_is_the_same_for_tiles_of_any_size(padding: str) -> None:
    torch.manual_seed(3)
    config = UNetConfig(hidden_sizes=[4, 8, 16], num_channels=1, padding=padding, num_labels=3)
    model = UNetForSemanticSegmentation(config).eval()
    image, maps = draw_cells(CELLS), []
    for tile_size in (64, 96, 200) if padding == "same" else (68, 100, 204):
        processor = UNetImageProcessorPil.from_config(config, tile_size=tile_size)
        with torch.no_grad():
            pixels = processor(image, return_tensors="pt")["pixel_values"]
            outputs = SemanticSegmenterOutput(logits=average_rotations(lambda x: model(x).logits, pixels))
        maps.append(processor.post_process_probabilities(outputs, target_sizes=[(80, 100)])[0].numpy())
    np.testing.assert_allclose(maps[0], maps[2], atol=2e-6)
    np.testing.assert_allclose(maps[1], maps[2], atol=2e-6)


def test_percentiles_become_black_and_white() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(900, 3000, (40, 50)).astype(np.uint16)
    values[0, 0] = 65535  # a hot pixel
    processor = UNetImageProcessorPil(num_channels=1, percentiles=(1, 99), do_normalize=False)
    low, high = np.percentile(values, (1, 99))
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(processor(values)["pixel_values"][0][0], expected, atol=1e-4)
    darker = processor((values // 7).astype(np.uint16))["pixel_values"][0][0]
    np.testing.assert_allclose(darker, expected, atol=0.01)  # exposure is of no matter
    color = rng.integers(0, 256, (30, 20, 3)).astype(np.uint8)
    low, high = np.percentile(color, (1, 99))
    pixels = UNetImageProcessorPil(percentiles=(1, 99))(color)["pixel_values"][0]
    expected = 2 * np.clip((color - low) / (high - low), 0, 1) - 1  # one range for all channels, then [-1, 1]
    np.testing.assert_allclose(pixels, expected.transpose(2, 0, 1), atol=1e-5)
    assert (UNetImageProcessorPil(percentiles=(1, 99))(np.full((9, 9), 7, np.uint8))["pixel_values"][0] == -1).all()


@pytest.mark.parametrize("percentiles", [(99, 1), (1, 101), (1,), (5, 5)])
def test_percentiles_out_of_range(percentiles: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="`percentiles` must be two ascending ones"):
        UNetImageProcessorPil(percentiles=percentiles)(np.zeros((4, 4), np.uint8))
