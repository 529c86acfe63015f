"""A corpus of photos to a data set of maps or labels, piece by piece: what is there already is not done again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._version import __version__
from ..data.photos import Photos
from ..engines import load_engine
from ..engines.model_files import find_model
from ..models.families import family_of
from .rows import Columns, MakeLabels, MakeMaps, MakeRows
from .target import Counts, Target

WEIGHTS = ("*.safetensors", "*.bin", "onnx/*.onnx")


@dataclass(frozen=True)
class Plan:
    """What is made of what; it goes to each machine that takes part.

    Args:
        photos: As from [`u2net_hf.data.photos.load_photos`].
        target: A folder, or the address of one.
        models: Published names, folders or Hub ids; several give the mean of their maps.
        columns: What a row holds.
        engine: As for [`u2net_hf.engines.load_engine`], as are the next two and the last.
        device: See there.
        dtype: See there.
        batch_size: Photos that go through the network at once.
        trust_remote_code: See there.
    """

    photos: Photos
    target: str
    models: Sequence[str] = ("u2netp",)
    columns: Columns = field(default_factory=Columns)
    engine: str = "torch"
    device: str | None = None
    dtype: str = "auto"
    batch_size: int = 1
    trust_remote_code: bool = False

    def open_target(self) -> Target:
        """Where the rows go."""
        return Target(self.target, len(self.photos))

    def load(self, workers: int | None = None) -> MakeRows:
        """Load the networks.

        Args:
            workers: Threads that decode and encode beside a network for photos.

        Raises:
            OSError: As `load_engine`.
            ValueError: As there; or if several models are not all for photos.
        """
        families = {family_of(find_model(name).config.get("model_type"), name) for name in self.models}
        if {family.output for family in families} == {"labels"} and len(self.models) == 1:
            from ..segmentation.network import load_network

            network = load_network(self.models[0], engine=self.engine, device=self.device, dtype=self.dtype)
            return MakeLabels(network, self.columns)
        if any(family.output != "saliency" for family in families):
            raise ValueError("the mean of several models is that of soft maps: name no U-Net among them")
        engine = load_engine(
            list(self.models),
            self.engine,
            device=self.device,
            dtype=self.dtype,
            trust_remote_code=self.trust_remote_code,
        )
        return MakeMaps(engine, self.columns, self.batch_size, workers)

    def variant(self, make_rows: MakeRows) -> dict[str, Any]:
        """How the rows of a target are made, for the record, and so that a later run makes them in the same way."""
        return {
            "model": " + ".join(Path(name).name if Path(name).exists() else name for name in self.models),
            "digest": " + ".join(weights_digest(name) for name in self.models),
            **{name: str(value) for name, value in make_rows.variant.items()},
            "columns": list(make_rows.features),
            "source": self.photos.spec,
            "pieces": self.photos.digest,
            "version": __version__,
        }


def weights_digest(name: str) -> str:
    """The SHA-256 of a model's weights, shortened."""
    folder, digest = find_model(name).folder, hashlib.sha256()
    for path in sorted(path for pattern in WEIGHTS for path in folder.glob(pattern)):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:16]


def predict_piece(plan: Plan, target: Target, make_rows: MakeRows, piece: int) -> Counts:
    """Make the shard of a piece, unless it is there."""
    if target.has(piece):
        return target.counts(piece)
    return target.write(piece, make_rows(plan.photos.read(piece)), make_rows.features)


def predict_here(plan: Plan) -> Iterator[Counts]:
    """Do all pieces that are missing in this process, and say of each what it held; the first counts are none.

    Raises:
        OSError: If the target cannot be used, or as [`Plan.load`].
        ValueError: As there.
    """
    target, make_rows = plan.open_target(), plan.load()
    missing = target.prepare(plan.variant(make_rows))
    for piece in missing:
        yield predict_piece(plan, target, make_rows, piece)
