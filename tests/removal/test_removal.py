"""Tests of u2net_hf.removal.removal: a tiny network, and a fake one whose maps are known beforehand."""

import io
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from prediction_helpers import Pair, alpha, gray_photos, noise

from u2net_hf.engines.torch_engine import ModelEngine
from u2net_hf.images.files import encode_image
from u2net_hf.images.outputs import Job, plan_outputs
from u2net_hf.models.u2net.render_u2net import RenderOptions, render, render_mask
from u2net_hf.removal import photo, removal
from u2net_hf.removal.removal import remove_background, remove_backgrounds

pytest_plugins = ["prediction_helpers"]


class BrightnessEngine:
    """Each map is flat, at the brightness of the image's first pixel."""

    variant: dict[str, Any] = {}
    map = staticmethod(map)

    def __init__(
        self, before: Callable[[list[int]], None] | None = None, input_size: tuple[int, int] | None = None
    ) -> None:
        self.before = before
        self.input_size = input_size
        self.batches: list[list[int]] = []

    def reduce(self, image: Image.Image) -> Image.Image:
        return image.convert("RGB")

    def __call__(
        self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]] | None, do_min_max: bool
    ) -> list[np.ndarray]:
        values = [np.asarray(image)[0, 0, 0] for image in images]
        self.batches.append([int(value) for value in values])
        if self.before:
            self.before(self.batches[-1])
        shapes = sizes or [(3, 4)] * len(values)
        return [np.full(shape, value / 255, np.float32) for shape, value in zip(shapes, values, strict=True)]


class TestRender:
    IMAGE = Image.new("RGB", (3, 1), (10, 20, 30))
    MAP = np.array([[0.2, 0.5, 0.9]], dtype=np.float32)

    def test_cut_out(self) -> None:
        result = render(self.IMAGE, self.MAP, RenderOptions())
        assert np.asarray(result).tolist() == [[[10, 20, 30, 51], [10, 20, 30, 128], [10, 20, 30, 230]]]

    def test_mask(self) -> None:
        result = render(self.IMAGE, self.MAP, RenderOptions(mask=True))
        assert (result.mode, np.asarray(result).tolist()) == ("L", [[51, 128, 230]])

    def test_threshold(self) -> None:
        result = render(self.IMAGE, self.MAP, RenderOptions(mask=True, threshold=0.5))
        assert np.asarray(result).tolist() == [[0, 255, 255]]

    def test_background(self) -> None:
        result = render(self.IMAGE, self.MAP, RenderOptions(background="white", threshold=0.6))
        assert np.asarray(result).tolist() == [[[255, 255, 255], [255, 255, 255], [10, 20, 30]]]

    @pytest.mark.parametrize("size", [(400, 300), (31, 500), (20, 20), (7, 3), (1, 1)])
    def test_a_map_of_another_size_is_resized_bilinearly(self, size: tuple[int, int]) -> None:
        """As PyTorch does it in float32, to the rounding; anti-aliased where it becomes smaller."""
        values = np.random.default_rng(0).random((20, 20), np.float32)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(values)[None, None], size=size[::-1], mode="bilinear", antialias=True
        )[0, 0].numpy()
        image = Image.new("RGB", size, (10, 20, 30))
        mask = np.asarray(render(image, values, RenderOptions(mask=True)))
        assert np.abs(mask - expected * 255).max() < 1.5
        assert np.array_equal(np.asarray(render(image, values, RenderOptions()))[..., 3], mask)
        hard = np.asarray(render(image, values, RenderOptions(mask=True, threshold=0.4)))
        certain = np.abs(expected - 0.4) > 1e-5
        assert np.array_equal(hard[certain], 255 * (expected >= 0.4)[certain])
        assert np.array_equal(hard, np.asarray(render_mask(values, size, 0.4)))

    def test_in_place(self) -> None:
        image = self.IMAGE.copy()
        result = render(image, self.MAP, RenderOptions(), in_place=True)
        assert result is image
        assert np.array_equal(np.asarray(result), np.asarray(render(self.IMAGE, self.MAP, RenderOptions())))
        assert self.IMAGE.mode == "RGB"

    @pytest.mark.parametrize("level", [-1, 10])
    def test_bad_compress_level(self, level: int) -> None:
        with pytest.raises(ValueError, match="compress_level must lie between 0 and 9"):
            list(remove_backgrounds([], BrightnessEngine(), compress_level=level))

    @pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
    def test_bad_threshold(self, threshold: float) -> None:
        with pytest.raises(ValueError, match="threshold must lie between 0 and 1"):
            RenderOptions(threshold=threshold)

    @pytest.mark.parametrize(
        ("margin", "box"), [(0, (3, 2, 7, 4)), (0.5, (1, 0, 9, 6)), (1, (0, 0, 10, 8)), (1e9, (0, 0, 10, 8))]
    )
    @pytest.mark.parametrize("options", [{}, {"mask": True}, {"background": "white"}, {"threshold": 0.5}], ids=str)
    def test_crop(self, options: dict[str, Any], margin: float, box: tuple[int, int, int, int]) -> None:
        """An object of 4 x 2 pixels at (3, 2), in haze, which is none."""
        soft_map = np.full((8, 10), 0.09, np.float32)
        soft_map[2:4, 3:7] = 0.9
        photo = noise(10, 8)
        photo.info["exif"] = b"kept"
        whole = render(photo, soft_map, RenderOptions(**options))
        result = render(photo, soft_map, RenderOptions(crop=margin, **options))
        assert np.array_equal(np.asarray(result), np.asarray(whole.crop(box)))
        assert result.info == whole.info

    def test_crop_leaves_out_what_was_transparent(self) -> None:
        photo = noise(10, 8)
        photo.putalpha(Image.fromarray(np.uint8([[0] * 5 + [255] * 5] * 8)))
        for options in ({}, {"background": "white"}):
            result = render(photo, np.ones((8, 10), np.float32), RenderOptions(crop=0, **options))
            assert result.size == (5, 8)

    def test_crop_without_an_object(self) -> None:
        result = render(noise(10, 8), np.zeros((4, 4), np.float32), RenderOptions(crop=0))
        assert result.size == (10, 8)

    @pytest.mark.parametrize("crop", [-0.1, float("nan"), float("inf")])
    def test_bad_crop(self, crop: float) -> None:
        with pytest.raises(ValueError, match="crop must be 0 or more"):
            RenderOptions(crop=crop)

    def test_mask_has_no_background(self) -> None:
        with pytest.raises(ValueError, match="a mask has no background"):
            RenderOptions(mask=True, background="white")


def done_when_folder(folder: Path) -> None:
    """The files that a folder of real photos is found to hold."""
    folder.mkdir()
    noise(40, 30).save(folder / "good.jpg")
    (folder / "text.jpg").write_text("not a photo")
    (folder / "truncated.jpg").write_bytes((folder / "good.jpg").read_bytes()[:-400])
    (folder / "empty.jpg").touch()
    noise(1, 1).save(folder / "pixel.png")
    noise(40, 30).convert("CMYK").save(folder / "cmyk.jpg")
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(folder / "gray16.png")
    noise(40, 30).convert("P").save(folder / "palette.png", transparency=3)
    rgba = noise(40, 30)
    rgba.putalpha(Image.linear_gradient("L").resize((40, 30)))
    rgba.save(folder / "rgba.png")
    Image.linear_gradient("L").resize((4000, 3000)).convert("RGB").save(folder / "large.jpg")


class TestRemoveBackgrounds:
    def test_every_file_is_done_or_named(self, tmp_path: Path, tiny: Pair) -> None:
        done_when_folder(tmp_path / "in")
        jobs = plan_outputs([tmp_path / "in"], tmp_path / "out")
        results = list(remove_backgrounds(jobs, ModelEngine(*tiny), batch_size=4))
        assert [result.job for result in results] == jobs
        failed = {result.job.source.name: str(result.error) for result in results if result.status == "failed"}
        assert set(failed) == {"text.jpg", "truncated.jpg", "empty.jpg"}
        assert all(str(tmp_path / "in" / name) in message for name, message in failed.items())
        written = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert written == ["cmyk.png", "good.png", "gray16.png", "large.png", "palette.png", "pixel.png", "rgba.png"]
        for name in written:
            with Image.open(tmp_path / "out" / name) as image:
                image.load()
                sizes = {"large.png": (4000, 3000), "pixel.png": (1, 1)}
                assert (image.mode, image.size) == ("RGBA", sizes.get(name, (40, 30)))

    def test_each_result_belongs_to_its_image(self, tmp_path: Path) -> None:
        values = [int(value) for value in np.random.default_rng(0).permutation(np.arange(1, 256, 12))]
        jobs = gray_photos(tmp_path, values)
        results = list(remove_backgrounds(jobs, BrightnessEngine(), batch_size=3, workers=4))
        assert [(result.job, result.status) for result in results] == [(job, "done") for job in jobs]
        assert [alpha(job.destination) for job in jobs] == values

    def test_options_reach_the_files(self, tmp_path: Path) -> None:
        job = Job(gray_photos(tmp_path, [100])[0].source, tmp_path / "out.jpg")
        assert [r.status for r in remove_backgrounds([job], BrightnessEngine(), options=RenderOptions(mask=True))] == [
            "done"
        ]
        with Image.open(job.destination) as image:
            assert (image.format, image.mode, image.getpixel((5, 5))) == ("JPEG", "L", 100)

    def test_compress_level_reaches_the_files(self, tmp_path: Path) -> None:
        noise(60, 50).save(tmp_path / "a.png")
        sizes = {}
        for level in (0, 9):
            job = Job(tmp_path / "a.png", tmp_path / f"{level}.png")
            list(remove_backgrounds([job], BrightnessEngine(), compress_level=level))
            sizes[level] = job.destination.stat().st_size
        assert sizes[0] > 60 * 50 * 4 > sizes[9]

    @pytest.mark.parametrize("turned", [False, True])
    def test_masks_are_made_of_a_reduced_photo(self, tmp_path: Path, turned: bool) -> None:
        """The engine sees no less than four times its input's size, and the mask has the size of the photo."""
        seen = []

        class Engine(BrightnessEngine):
            def reduce(self, image: Image.Image) -> Image.Image:
                seen.append(image.size)
                return super().reduce(image)

        exif = Image.Exif()
        exif[274] = 6 if turned else 1
        Image.new("RGB", (401, 203), (90, 90, 90)).save(tmp_path / "a.jpg", exif=exif)
        job = Job(tmp_path / "a.jpg", tmp_path / "a.png")
        engine = Engine(input_size=(20, 10))
        for options in (RenderOptions(mask=True), RenderOptions(mask=True, threshold=0.2), RenderOptions()):
            (result,) = remove_backgrounds([job], engine, options=options, overwrite=True)
            assert result.status == "done", result.error
            with Image.open(job.destination) as image:
                assert image.size == ((203, 401) if turned else (401, 203))
        assert seen == [((102, 201) if turned else (201, 102))] * 2 + [((203, 401) if turned else (401, 203))]

    def test_existing_results_are_skipped_unless_overwritten(self, tmp_path: Path) -> None:
        jobs = gray_photos(tmp_path, [10, 20, 30])
        jobs[1].destination.parent.mkdir()
        jobs[1].destination.write_bytes(b"kept")
        engine = BrightnessEngine()
        results = list(remove_backgrounds(jobs, engine))
        assert [result.status for result in results] == ["done", "skipped", "done"]
        assert jobs[1].destination.read_bytes() == b"kept"
        assert engine.batches == [[10], [30]]
        assert [r.status for r in remove_backgrounds(jobs, engine, overwrite=True)] == ["done"] * 3
        assert alpha(jobs[1].destination) == 20

    def test_failures_keep_their_place(self, tmp_path: Path) -> None:
        jobs = gray_photos(tmp_path, [10, 20, 30, 40])
        jobs[1].source.write_bytes(b"broken")
        jobs[2] = Job(jobs[2].source, tmp_path / "0.png" / "below-a-file.png")
        results = list(remove_backgrounds(jobs, BrightnessEngine(), batch_size=4))
        assert [result.status for result in results] == ["done", "failed", "failed", "done"]
        assert str(jobs[1].source) in str(results[1].error)
        assert str(jobs[2].destination) in str(results[2].error)

    def test_a_photo_that_cannot_be_encoded_is_named(self, tmp_path: Path, tiny: Pair) -> None:
        Image.new("RGB", (16384, 1)).save(tmp_path / "wide.png")
        job = Job(tmp_path / "wide.png", tmp_path / "out" / "result.webp")  # which ends at 16383 pixels
        [result] = remove_backgrounds([job], ModelEngine(*tiny))
        assert result.status == "failed"
        assert str(result.error).startswith(
            f"{tmp_path}/wide.png: {tmp_path}/out/result.webp: an image of size (16384"
        )

    def test_an_image_that_the_network_fails_on_does_not_fail_its_batch(self, tmp_path: Path) -> None:
        def fail(batch: list[int]) -> None:
            if 20 in batch:
                raise RuntimeError("out of memory")

        jobs = gray_photos(tmp_path, [10, 20, 30])
        results = list(remove_backgrounds(jobs, BrightnessEngine(fail), batch_size=3))
        assert [result.status for result in results] == ["done", "failed", "done"]
        assert re.search(r"1\.png: RuntimeError: out of memory", str(results[1].error))

    def test_stages_overlap(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The network on image 1 waits for image 2 to be read; image 0 is written only while the network is busy."""
        events = {name: threading.Event() for name in ("read 2", "network 1")}
        read, write = photo.open_image, removal.save_image

        def open_image(source: Path) -> Image.Image:
            if source.name == "2.png":
                events["read 2"].set()
            return read(source)

        def save_image(image: Image.Image, path: Path, **options: Any) -> None:
            assert path.name != "0.png" or events["network 1"].wait(20)
            write(image, path, **options)

        def network(batch: list[int]) -> None:
            if batch == [20]:
                events["network 1"].set()
                assert events["read 2"].wait(20)

        monkeypatch.setattr(photo, "open_image", open_image)
        monkeypatch.setattr(removal, "save_image", save_image)
        jobs = gray_photos(tmp_path, [10, 20, 30])
        results = list(remove_backgrounds(jobs, BrightnessEngine(network), workers=2))
        assert [result.status for result in results] == ["done"] * 3

    def test_memory_does_not_grow_with_the_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        read, write = photo.open_image, removal.save_image
        lock, alive, peak = threading.Lock(), 0, 0

        def open_image(source: Path) -> Image.Image:
            nonlocal alive, peak
            with lock:
                alive += 1
                peak = max(peak, alive)
            return read(source)

        def save_image(image: Image.Image, path: Path, **options: Any) -> None:
            nonlocal alive
            write(image, path, **options)
            with lock:
                alive -= 1

        monkeypatch.setattr(photo, "open_image", open_image)
        monkeypatch.setattr(removal, "save_image", save_image)
        jobs = gray_photos(tmp_path, list(range(1, 61)))
        assert len(list(remove_backgrounds(jobs, BrightnessEngine(), batch_size=2, workers=2))) == 60
        assert alive == 0
        assert peak <= 9  # three being read or waiting, two in the network, three being written, one handed over

    def test_interrupt_leaves_whole_files_only(self, tmp_path: Path) -> None:
        def interrupt(batch: list[int]) -> None:
            if batch == [50]:
                raise KeyboardInterrupt

        jobs = gray_photos(tmp_path, list(range(10, 210, 10)))
        with pytest.raises(KeyboardInterrupt):
            list(remove_backgrounds(jobs, BrightnessEngine(interrupt), workers=2))
        written = sorted((tmp_path / "out").iterdir())
        assert {path.name for path in written} <= {"0.png", "1.png", "2.png", "3.png"}
        assert [alpha(path) for path in written] == [10, 20, 30, 40][: len(written)]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("images")]
        results = list(remove_backgrounds(jobs, BrightnessEngine(), workers=2))
        assert {result.status for result in results} == {"done", "skipped"}
        assert [alpha(job.destination) for job in jobs] == list(range(10, 210, 10))

    def test_a_consumer_that_stops_stops_the_work(self, tmp_path: Path) -> None:
        jobs = gray_photos(tmp_path, list(range(1, 41)))
        engine = BrightnessEngine()
        results = remove_backgrounds(jobs, engine, workers=2)
        assert next(results).status == "done"
        results.close()  # type: ignore[attr-defined]
        assert len(engine.batches) < 6

    def test_batch_size(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="batch_size"):
            list(remove_backgrounds(gray_photos(tmp_path, [1]), BrightnessEngine(), batch_size=0))


def test_a_photo_from_a_stream_to_bytes() -> None:
    stream = io.BytesIO(encode_image(Image.new("RGB", (6, 4), (90, 90, 90)), "JPEG"))
    result = Image.open(io.BytesIO(encode_image(remove_background(stream, BrightnessEngine()))))
    assert result.getpixel((3, 3)) == (90, 90, 90, 90)


def test_one_file_gives_what_a_folder_gives(tmp_path: Path, tiny: Pair) -> None:
    noise(2000, 900).save(tmp_path / "a.jpg")
    job, engine = Job(tmp_path / "a.jpg", tmp_path / "a.png"), ModelEngine(*tiny)
    for options in (RenderOptions(), RenderOptions(mask=True), RenderOptions(background="red", threshold=0.5)):
        list(remove_backgrounds([job], engine, options=options, overwrite=True))
        result = remove_background(job.source, engine, options)
        with Image.open(job.destination) as image:
            assert image.mode == result.mode
            assert np.array_equal(np.asarray(image), np.asarray(result))
