"""The zoo on disk: everything drawn into one folder, and how calls over it are made and counted."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from PIL import Image
from tiny_models import tiny_u2net_config, tiny_unet_config
from zoo_corpora import make_corpora
from zoo_damage import draw_damage, make_special_files
from zoo_models import make_models
from zoo_pictures import Picture, draw_pictures
from zoo_runs import Run, faults, run
from zoo_weights import make_exports, make_weights

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)

UNREADABLE = ("icc-huge-L.png",)
LARGEST_WEBP = 16383  # pixels of a side
_Item = TypeVar("_Item")
BROKE_ONCE = {"cycle", "meta", "icc-huge-RGB", "tensors-none", "tensors-unexpected", "complex", "nan"}
BROKE_ONCE |= {
    "saved-empty",
    "layout-special",
    "layout-odd-names",
    "parquet-pipe",
    "pictures-good",
    "metadata-deep",
    "code-strange-processor",
}


@dataclass
class Zoo:
    """A folder with all animals, and what was found out about the program.

    Args:
        folder: An empty folder.
        every: Of cases of one kind, each of this number is tried: 1 is all of them.
        verbose: Whether to print what each call ended with.
    """

    folder: Path
    every: int = 1
    verbose: bool = False
    slowest: float = 0
    largest: int = 0
    found: list[str] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.good = self._write("good", draw_pictures())
        self.damaged = self._write("damaged", draw_damage())
        self.special = self.folder / "special"
        self.special.mkdir()
        make_special_files(self.special)
        self.model, self.unet = self.folder / "tiny-u2net", self.folder / "tiny-unet"
        torch.manual_seed(0)
        network = U2NetForImageSegmentation(tiny_u2net_config())
        torch.nn.init.normal_(network.outconv.weight, std=30)
        network.save_pretrained(self.model)
        U2NetImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(self.model)
        config = tiny_unet_config()
        UNetForSemanticSegmentation(config).save_pretrained(self.unet)
        UNetImageProcessorPil.from_config(config).save_pretrained(self.unet)
        self.models = make_models(self.folder / "models", self.model, self.unet)
        self.corpora = make_corpora(self.folder / "corpora", self.good, self.damaged)
        self.weights = make_weights(self.folder / "weights")
        self.exports = make_exports(self.folder / "exports", self.model)
        (self.folder / "yes").write_text("y\n" * 99)

    def some(self, items: Iterable[_Item], start: int = 0) -> Iterator[_Item]:
        """Of the items those whose turn it is, and those that broke something once."""
        for number, item in enumerate(items):
            if number % self.every == start % self.every or getattr(item, "stem", None) in BROKE_ONCE:
                yield item

    def describe(self) -> str:
        """How many animals of which kinds there are."""
        kinds = {
            "pictures": self.good,
            "damaged or no pictures": self.damaged,
            "special files": self.special.iterdir(),
        }
        kinds |= {
            "model folders": self.models,
            "corpora": self.corpora,
            "weights": self.weights,
            "exports": self.exports,
        }
        return ", ".join(f"{len([*animals])} {kind}" for kind, animals in kinds.items())

    def call(
        self,
        verb: str,
        what: object,
        function: Callable[[], object],
        *,
        stdin: Path | None = None,
        limit: float = 60,
        binary: bool = False,
        noise: Sequence[str] = (),
        free: bool = False,
    ) -> Run:
        """Make a call of a verb over something, and write down what no call may do."""
        done = run(f"{verb} {os.fsencode(str(what))!r}", function, self.desk, stdin, limit)
        self.calls[verb] += 1
        self.slowest, self.largest = max(self.slowest, done.seconds), max(self.largest, done.memory)
        if self.verbose:
            last = (done.err.splitlines() or done.out.decode(errors="replace").splitlines() or [""])[-1]
            print(f"{done.status} {done.seconds:.1f} s {done.memory / 2**20:.0f} MiB {done.title}: {last[:200]!a}")
        for fault in faults(done, binary=binary, noise=noise, free=free):
            self.blame(done, fault)
        return done

    @property
    def desk(self) -> Path:
        """The folder in which calls are made, and where they may write."""
        folder = self.folder / "desk"
        folder.mkdir(exist_ok=True)
        return folder

    def may_refuse(self, path: Path, call: str) -> bool:
        """Whether a good picture may be refused: Pillow cannot read it, WebP not hold it, or it moves and is cut."""
        if path.name in UNREADABLE:
            return True
        with Image.open(path) as image:
            too_large = "webp" in call and max(image.size) > LARGEST_WEBP
            return too_large or ("crop" in call and getattr(image, "n_frames", 1) > 1)

    def clear_desk(self, done: Run, *results: Path) -> None:
        """Remove the results of a call, which may leave nothing else."""
        for path in self.desk.iterdir():
            if path.name not in (".out", ".err"):
                if path not in results:
                    self.blame(done, f"leaves {path.name}")
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def blame(self, done: Run, fault: str) -> None:
        """Write down a fault."""
        self.found.append(f"{done.title}: {fault}".replace(str(self.folder), "ZOO"))
        print(ascii(self.found[-1]).strip("'\""), flush=True)

    def _write(self, name: str, pictures: Iterable[Picture]) -> list[Path]:
        folder = self.folder / name
        folder.mkdir()
        paths = []
        for file, data in pictures:
            path = folder / file
            assert not path.exists(), path
            path.write_bytes(data)
            paths.append(path)
        return paths
