"""Fixtures of the tests of corpora."""

from pathlib import Path

import datasets
import pytest
from drawn_corpora import Draw, draw_image, draw_mask


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `datasets` caches goes to a folder of the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def draw_tree(tmp_path: Path) -> Draw:
    """Draw files below `tmp_path`: `draw_tree({"images/a.jpg": 1}, {"masks/a.png": 1})`."""

    def draw(images: dict[str, int], masks: dict[str, int]) -> None:
        for files, picture in ((images, draw_image), (masks, draw_mask)):
            for file, number in files.items():
                path = tmp_path / file
                path.parent.mkdir(parents=True, exist_ok=True)
                picture(number).save(path)

    return draw
