import json
from pathlib import Path
from types import ModuleType

import pytest
from drawn_pairs import PAIRS
from PIL import Image

from run_script import run_script


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of masks and of maps, each with four pictures; one more map has no mask."""
    for index, name in enumerate(["soft", "noisy", "hole", "two objects"]):
        for kind, array in zip(("maps", "masks"), PAIRS[name], strict=True):
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(tmp_path / kind / f"{index}.png")
    Image.fromarray(PAIRS["soft"][0]).save(tmp_path / "maps" / "more.png")
    return tmp_path / "masks", tmp_path / "maps"


def test_table_and_rows(
    pysodmetrics: ModuleType, folders: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    masks, maps = folders
    output = tmp_path / "new" / "rows.json"
    assert not run_script(
        "benchmark.py", "metrics", "--masks", masks, "--maps", maps, "--rounds", 1, "--output", output
    )
    rows = json.loads(output.read_text())
    assert len(rows) == 4
    assert all(row["items"] == 4 and row["ratio"] > 0 for row in rows)
    table = capsys.readouterr().out.splitlines()
    assert len(table) == 2 + len(rows)
    assert all(row["case"] in line for row, line in zip(rows, table[2:], strict=True))


def test_folders_without_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_script("benchmark.py", "metrics", "--masks", tmp_path, "--maps", tmp_path)
    assert "namesake" in capsys.readouterr().err
