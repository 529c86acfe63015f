"""The examples of docstrings and of the README run as they stand."""

import doctest
import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import Hub

import u2net_hf
from u2net_hf.evaluation.results import read_results
from u2net_hf.weights.published import SHIPPED

pytest_plugins = ["hub_fixtures"]
ROOT = Path(__file__).parents[1]
PACKAGE = Path(u2net_hf.__file__).parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if "```python" in path.read_text())]
EXAMPLES = sorted(path for path in PACKAGE.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8"))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader of the README works: a checkout, and photos."""
    for name in ("src", "hub_cards", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "docs" / "images" / "nuclei_tissue.png", tmp_path / "cells.tif")
    for name in ("photo.jpg", "portrait.jpg"):
        shutil.copy(ROOT / "hub_cards" / "space" / "coffee.jpg", tmp_path / name)
    monkeypatch.chdir(tmp_path)
    try:
        u2net_hf.pull("u2netp")
    except RuntimeError as error:
        pytest.skip(f"needs the published weights: {error}")
    return tmp_path


def pairs() -> dict[str, Any]:
    """What an example may call `maps` and `masks`."""
    random = np.random.default_rng(0)
    return {"maps": random.random((2, 30, 40)), "masks": random.random((2, 30, 40)) > 0.5}


class FencedExamples(doctest.DocTestParser):
    """Examples between the fences of Markdown, as in the docstrings of transformers."""

    def parse(self, string: str, name: str = "<string>") -> list[str | doctest.Example]:
        return super().parse(string.replace("```", ""), name)


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_of_docstrings(path: Path) -> None:
    name = ".".join(("u2net_hf", *path.relative_to(PACKAGE).with_suffix("").parts))
    runner = doctest.DocTestRunner()
    for test in doctest.DocTestFinder(parser=FencedExamples()).find(importlib.import_module(name)):
        runner.run(test)
    assert runner.tries > 0
    assert runner.failures == 0


def run_snippets(page: Path) -> dict[str, Any]:
    """Run the Python snippets of a page one after the other, as a reader would type them; return what they named."""
    text, names = page.read_text(encoding="utf-8"), pairs()
    for snippet in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        lines_before = text[: snippet.start(1)].count("\n")
        exec(compile("\n" * lines_before + snippet[1], page.name, "exec"), names)
    return names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
@pytest.mark.usefixtures("workplace")
def test_snippets_of_the_pages(page: Path, connected_datasets: Hub) -> None:
    """The Hub is a small one of our own."""
    names = run_snippets(page)
    if "saliency" in names:
        assert names["saliency"].shape == (400, 600)
        assert Path("cut-out.png").is_file()
    if page.stem == "publish":
        assert "model.safetensors" in connected_datasets.files("me/my-u2net")


MEASURED = [*sorted((ROOT / "docs/results/sod300").glob("*.json")), SHIPPED / "u2netp" / "results.json"]


@pytest.mark.parametrize("path", MEASURED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_scores_in_the_docs_are_those_of_the_results(path: Path) -> None:
    (score,) = (results := read_results(path)).data
    names = ("max_f", "mae", "weighted_f", "s_measure", "relaxed_f")
    hce = f"{score.metrics['hce']:.1f}" if "hce" in score.metrics else ""
    cells = [*(f"{score.metrics[name]:.3f}" for name in names), hce]
    lines = (ROOT / "docs" / "scores.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    assert cells in [row[2:] for row in rows if row[0] == results.model]


def test_scores_of_nuclei_in_the_docs_are_those_of_the_results() -> None:
    every, gray = (score.metrics for score in read_results(SHIPPED / "nuclei" / "results.json").data)
    cells = [f"{every[name]:.3f}" for name in ("ap50", "mean_ap", "f1")]
    cells.append(f"{every['relative_count_error']:.1%}".replace("%", " %"))
    cells += [f"{gray[name]:.3f}" for name in ("ap50", "mean_ap")]
    guide = (ROOT / "docs" / "cells.md").read_text(encoding="utf-8")
    assert f"| `nuclei` | {' | '.join(cells)} |" in guide
    for text in ((ROOT / "README.md").read_text(encoding="utf-8"), (SHIPPED / "nuclei" / "NOTICE").read_text()):
        words = " ".join(text.split())
        assert f"AP50 {every['ap50']:.3f}, mean AP {every['mean_ap']:.3f}".replace("0.", ".") in words


def test_scores_in_the_readme_are_those_of_the_guide() -> None:
    rows, guide = (
        [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\| (isnet|u2net)", line)]
        for path in (ROOT / "README.md", ROOT / "docs" / "scores.md")
    )
    assert rows
    assert set(rows) <= set(guide)
