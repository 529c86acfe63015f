"""A picture in memory to its result in memory: decoded and encoded in a pool of threads, beside the network's thread.

The way of the photo is that of the command (`removal.photo`), so the bytes are the same.
"""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..engines import load_engine
from ..images.animations import ANIMATED, count_frames
from ..images.files import open_image, to_rgb
from ..models.u2net.render_u2net import RenderOptions
from ..removal.animation import encode_results, read_photos
from ..utils.threads import usual_workers
from .limits import Budget, Limits, RefusalError
from .worker import EngineWorker

if TYPE_CHECKING:
    from ..engines.interface import Engine

READ_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "PPM", "JPEG2000")
MAX_FRAMES = 300
MATTING_COST = 4  # times the memory of a photo that is only cut out


@dataclass
class Outcome:
    """The bytes of a result, and how many seconds each step took."""

    data: bytes
    seconds: dict[str, float] = field(default_factory=dict)


class RemovalService:
    """What has the engines, each in its thread, and the threads beside them.

    Args:
        engines: By the names that requests may ask for; the first is the default.
        limits: What a request may take.
        batch_size: How many images an engine sees at once, at most.
        workers: Threads that decode and encode; by default up to eight, one per core.

    Raises:
        ValueError: If there is no engine.
    """

    def __init__(
        self, engines: Mapping[str, Engine], limits: Limits, *, batch_size: int = 1, workers: int | None = None
    ) -> None:
        if not engines:
            raise ValueError("the server needs at least one model")
        self.limits = limits
        self.networks = {name: EngineWorker(engine, batch_size) for name, engine in engines.items()}
        self._pixels = Budget(limits.held_pixels)
        self._pool = ThreadPoolExecutor(workers or usual_workers(), thread_name_prefix="images")

    def close(self) -> None:
        """End the threads, when nothing is asked any more."""
        self._pool.shutdown()
        for network in self.networks.values():
            network.close()

    async def remove(self, picture: bytes, model: str | None, options: RenderOptions, image_format: str) -> Outcome:
        """Make what the options say of a picture, and encode it.

        Raises:
            RefusalError: If the model is none of those, or the picture is none or is too large.
            ImageError: If the picture cannot be read, or the result not be encoded.
        """
        network = self._network(model)
        loop = asyncio.get_running_loop()
        times = [time.perf_counter()]

        def lap() -> None:
            times.append(time.perf_counter())

        pixels = check_picture(picture, self.limits.max_pixels)
        if image_format in ANIMATED:
            frames = await loop.run_in_executor(self._pool, count_frames, io.BytesIO(picture))
            pixels *= frames
            if frames > MAX_FRAMES or pixels > self.limits.max_pixels:
                allowed = f"{self.limits.max_pixels / 1e6:g} megapixels"
                reason = f"photo: its {frames} frames are more than {MAX_FRAMES}, or have more than {allowed} together"
                raise RefusalError(413, reason)
        async with self._pixels.share(pixels * (MATTING_COST if options.matting else 1)):
            lap()
            stream = _named(picture, "photo")
            photos = await loop.run_in_executor(self._pool, read_photos, stream, network.engine, options, image_format)
            lap()
            futures = [asyncio.wrap_future(network.submit(photo.reduced)) for photo in photos.photos]
            soft_maps = await asyncio.gather(*futures)
            lap()
            data = await loop.run_in_executor(self._pool, encode_results, photos, soft_maps, options, image_format)
            lap()
        steps = ("wait", "read", "network", "write")
        return Outcome(data, dict(zip(steps, np.diff(times).tolist(), strict=True)))

    async def open_background(self, picture: bytes) -> Image.Image:
        """Read a picture to put behind the object.

        Raises:
            RefusalError: If it is none or is too large.
            ImageError: If it cannot be read.
        """
        check_picture(picture, self.limits.max_pixels, "background")
        stream = _named(picture, "background")
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: to_rgb(open_image(stream)))

    def _network(self, model: str | None) -> EngineWorker:
        name = next(iter(self.networks)) if model is None else model
        if name not in self.networks:
            raise RefusalError(422, f"model: must be one of {', '.join(self.networks)}, got {name!r}")
        return self.networks[name]


def load_engines(
    models: Sequence[str], engine: str, *, device: str | None, dtype: str, trust_remote_code: bool
) -> dict[str, Engine]:
    """Load models by the names that requests ask for: of folders the last part, for paths are nobody's business.

    Each has run once then, so that the first request is as fast as others.

    Raises:
        ValueError: If two have one name.
    """
    names = {Path(model).resolve().name if Path(model).exists() else model: model for model in models}
    if len(names) < len({*models}):
        raise ValueError(f"two of the models would have the same name: {', '.join(models)}")
    options: dict[str, Any] = {"device": device, "dtype": dtype, "trust_remote_code": trust_remote_code}
    engines = {name: load_engine(model, engine, **options) for name, model in names.items()}
    for one in engines.values():
        one([one.reduce(Image.new("RGB", (64, 64)))], None, False)
    return engines


def check_picture(picture: bytes, max_pixels: int, role: str = "photo") -> int:
    """How many pixels a picture has, by its header.

    Raises:
        RefusalError: If it is none, or has too many.
    """
    too_large = RefusalError(413, f"{role}: has more than {max_pixels / 1e6:g} megapixels; make it smaller first")
    if not picture:
        raise RefusalError(422, f"{role}: is empty; send the picture as the body, or as the part {role!r} of a form")
    try:
        with Image.open(io.BytesIO(picture), formats=READ_FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError:
        formats = ", ".join(READ_FORMATS)
        raise RefusalError(415, f"{role}: is no picture of a format that is read here ({formats})") from None
    except Image.DecompressionBombError:
        raise too_large from None
    except Exception as error:  # damaged files make Pillow raise nearly anything
        raise RefusalError(422, f"{role}: the header is damaged ({error or type(error).__name__})") from None
    if width * height > max_pixels:
        raise too_large
    return width * height


def _named(picture: bytes, role: str) -> io.BytesIO:
    """A stream whose name errors tell."""
    stream = io.BytesIO(picture)
    stream.name = role
    return stream
