"""Score a saliency model, or a folder of saliency maps, as the papers do.

    u2net-hf evaluate-sod --model u2netp --data path/to/SOD
    u2net-hf evaluate-sod --model u2net --data nobg/DUTS --split test --no-do-antialias --do-min-max
    u2net-hf evaluate-sod --model u2netp --data path/to/SOD --engine onnxruntime --dtype int8
    u2net-hf evaluate-sod --model isnet --model u2net --data path/to/SOD  # the mean of their maps
    u2net-hf evaluate-sod --model path/to/export --data path/to/SOD --engine onnxruntime --dtype float16
    u2net-hf evaluate-sod --maps path/to/maps --data path/to/ECSSD --data path/to/SOD

On many processes or machines, with the same numbers:

    accelerate launch -m u2net_hf.cli.evaluate_sod --model u2net --data nobg/DUTS --split test
    torchrun --standalone --nproc_per_node 2 -m u2net_hf.cli.evaluate_sod --model u2netp --data ...

Writes results.json (every number with its variant, data, versions and date), results.md (a table in the order of the
U²-Net paper), curves.png and curves.svg, and worst_and_best.png, one for each corpus.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from ..utils.console import printable, run_script


def main(
    data: Annotated[list[str], typer.Option(help="A corpus: a folder with images/ and masks/, or a Hub id.")],
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="A published name, a folder (an export too), or a Hub id; of several, the mean of their maps."
        ),
    ] = None,
    maps: Annotated[Path | None, typer.Option(help="A folder of maps instead of a model.")] = None,
    split: Annotated[str | None, typer.Option(help="Split of the corpora, where they have several.")] = None,
    object_values: Annotated[
        list[str] | None, typer.Option(help="Values of the masks that are object: 15, 129-255.")
    ] = None,
    output_dir: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("outputs/evaluation"),
    averaging: Annotated[str, typer.Option(help="dataset (the papers) or image (PySODMetrics).")] = "dataset",
    engine: Annotated[str, typer.Option(help="torch, onnxruntime or openvino.")] = "torch",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16, float16 or int8.")] = "float32",
    do_antialias: Annotated[bool | None, typer.Option(help="Smooth images that are made smaller.")] = None,
    do_scale_by_max: Annotated[bool | None, typer.Option(help="Divide images by their maximum.")] = None,
    hce: Annotated[
        bool, typer.Option("--hce", help="Also the human correction effort, which takes longer than all the rest.")
    ] = False,
    do_min_max: Annotated[bool, typer.Option(help="Stretch each map to [0, 1], as the authors do.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images that go through the network at once.")] = 1,
    save_maps: Annotated[Path | None, typer.Option(help="Folder to write the maps to, as 8-bit PNG.")] = None,
) -> None:
    """Score a saliency model, or a folder of saliency maps, on one or more corpora."""
    import torch
    from accelerate import Accelerator

    from ..data.corpora import load_corpus
    from ..engines.model_files import find_model
    from ..evaluation.evaluation import FolderMaps, ModelMaps, evaluate_corpus
    from ..evaluation.figures import draw_curves, save_contact_sheet
    from ..evaluation.results import corpus_name, make_results, make_score, results_table, write_results
    from ..images.drawing import save_figure
    from ..sod_metrics import DEFAULT_MEASURES, MEASURES
    from ..utils.files import write_atomically

    if (not model) == (maps is None):
        raise ValueError("name either a --model or a folder of --maps")
    start, scores, num_parameters = perf_counter(), [], None
    accelerator = Accelerator(cpu=not torch.accelerator.is_available())  # which connects torchrun's processes on a CPU
    corpora = {name: load_corpus(name, split, object_values=object_values) for name in data}
    source: Any
    if maps is not None:
        source = FolderMaps(maps)
        for corpus in corpora.values():
            source.check(corpus["name"])
    else:
        options = {"do_antialias": do_antialias, "do_scale_by_max": do_scale_by_max}
        with accelerator.main_process_first():  # one process fetches published weights, the others find them
            source = ModelMaps(load(model or [], engine, dtype, accelerator.device, options), do_min_max)
            counts = [find_model(one).num_parameters for one in model or []]
            num_parameters = None if None in counts else sum(count for count in counts if count)

    for number, (name, corpus) in enumerate(corpora.items()):
        folder = save_maps if save_maps is None or len(corpora) == 1 else save_maps / corpus_name(name)
        outcome = evaluate_corpus(
            corpus,
            source,
            accelerator,
            batch_size=batch_size,
            measures=MEASURES if hce else DEFAULT_MEASURES,
            save_maps=folder,
            title=name,
        )
        scores.append(make_score(corpus_name(name), split, outcome.metrics, averaging, source.variant))
        if accelerator.is_main_process:
            suffix = f"_{number + 1}" if len(corpora) > 1 else ""
            save_contact_sheet(corpus, source, outcome.errors, output_dir / f"worst_and_best{suffix}.png")
    if accelerator.is_main_process:
        title = " + ".join(model or [str(maps)])
        results = make_results(title, num_parameters, scores, accelerator.num_processes, perf_counter() - start)
        table = f"# {title}\n\n{results_table(scores)}\n"
        curves = draw_curves([(score.title, score) for score in scores])
        for suffix in ("png", "svg"):
            save_figure(curves, output_dir / f"curves.{suffix}", dpi=150, bbox_inches="tight")
        write_atomically(output_dir / "results.md", table)
        write_results(results, output_dir / "results.json")
        print(*map(printable, f"{table}\nwritten to {output_dir}".splitlines()), sep="\n")
    accelerator.end_training()


def load(models: list[str], engine: str, dtype: str, device: Any, options: dict[str, bool | None]) -> Any:
    """Load a model whose maps are scored, with those options of its image processor that are given."""
    from ..engines import load_engine

    given = {name: value for name, value in options.items() if value is not None}
    if engine != "torch" and "do_scale_by_max" in given:
        raise ValueError("an exported network divides images by their maximum itself: choose the engine torch")
    network: Any = load_engine(models, engine, device=str(device) if engine == "torch" else None, dtype=dtype)
    for one in getattr(network, "engines", [network]):
        if hasattr(one, "input_options"):
            one.input_options = replace(one.input_options, **given)
        else:
            for name, value in given.items():
                setattr(one.image_processor, name, value)
    return network


run = partial(run_script, main, __doc__)  # with the arguments of the command line

if __name__ == "__main__":
    run()
