"""The example of the guide runs, with a network of the tests in place of the shipped one."""

import re
from pathlib import Path

import pytest
import tifffile
from cell_models import bright_cells

from u2net_hf.segmentation import segmentation
from u2net_hf.segmentation.network import load_network

ROOT = Path(__file__).parents[2]


def test_example(
    finder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image, cells = bright_cells(0)
    tifffile.imwrite(tmp_path / "cells.tif", image)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmentation, "load_network", lambda name: load_network(finder if name == "nuclei" else name))
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "cells.md").read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "segment_image" in block)
    exec(example, {})
    assert str(cells.max()) in capsys.readouterr().out
