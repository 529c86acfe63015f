"""Draw model size against max F-beta, the first figure of the U²-Net paper, from results files.

python scripts/draw_model_sizes.py outputs/u2netp/results.json outputs/u2net/results.json -o sizes.png
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from u2net_hf.utils.console import printable, run_script


def main(
    results: Annotated[list[Path], typer.Argument(help="Files that evaluate_sod.py wrote, or their folders.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="A .png or .svg file.")] = Path("model_sizes.png"),
) -> None:
    """Draw model size against max F-beta from results files."""
    from u2net_hf.evaluation.figures import draw_model_sizes
    from u2net_hf.evaluation.results import read_results
    from u2net_hf.images.drawing import save_figure

    save_figure(draw_model_sizes([read_results(path) for path in results]), output, dpi=150, bbox_inches="tight")
    print(printable(output))


if __name__ == "__main__":
    run_script(main, __doc__)
