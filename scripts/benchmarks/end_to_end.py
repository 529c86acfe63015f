"""From photo files to cut-outs, many, large or one from cold: this package beside rembg with the same weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from u2net_hf.engines import load_engine

from .commands import build_command, build_server
from .options import PAGE, WORK_DIR, Output, Rounds, WorkDir, check_cap
from .photos import make_photos
from .rembg_rival import NETWORK, install_rembg
from .report import note_cap, save
from .timing import Side, compare

# Engines and types: what the command does by itself, and what else can be chosen.
OURS = (("auto", "auto"), ("torch", "float32"), ("onnxruntime", "float32"), ("openvino", "int8"))
STARTUP_NOTE = "Files are in the system's cache; nothing is fetched."
REMBG_SERVER = """
import sys
from PIL import Image
from rembg import new_session, remove
session = new_session(sys.argv[1])
def work(source, target):
    with Image.open(source) as photo:
        remove(photo, session=session).save(target)
"""
OUR_SERVER = """
import sys
from pathlib import Path
from u2net_hf.engines import load_engine
from u2net_hf.utils.process import keep_freed_memory
from u2net_hf.images.outputs import Job
from u2net_hf.removal.removal import remove_backgrounds
keep_freed_memory()
engine = load_engine(sys.argv[1], sys.argv[2], dtype=sys.argv[3])
def work(source, target):
    (result,) = remove_backgrounds([Job(Path(source), Path(target))], engine, overwrite=True)
    assert result.status == "done", result.error
"""


def usable_engines() -> list[tuple[str, str]]:
    """Those of `OURS` that are installed, their networks exported: before any clock runs."""
    usable = []
    for engine, dtype in OURS:
        try:
            load_engine(NETWORK, engine, dtype=dtype)
        except (ImportError, RuntimeError) as error:  # not installed
            print(f"not measured: {error}", file=sys.stderr)
        else:
            usable.append((engine, dtype))
    return usable


def run(
    rounds: Rounds = 3,
    count: Annotated[int, typer.Option(min=2, help="Photos in the folder.")] = 50,
    work_dir: WorkDir = WORK_DIR,
    output: Output = PAGE,
) -> None:
    """A folder of photos, and one of 12 megapixels, to PNG, beside rembg."""
    check_cap()
    engines, rembg = usable_engines(), install_rembg(work_dir / "rembg")
    photos = make_photos(work_dir / "photos", [round(size, 1) for size in np.linspace(1, 12, count)])
    command = str(Path(sys.executable).with_name("u2net-hf"))
    folder, target = str(work_dir / "photos"), work_dir / "cut-outs"
    command_line = [rembg.command, "p", "-m", NETWORK, folder, str(target)]
    sides = [Side("rembg p", build_command, (command_line, rembg.variables, target))]
    large = photos[-1]
    for engine, dtype in engines:
        command_line = [command, "remove", folder, "-o", str(target), "--engine", engine, "--dtype", dtype]
        sides.append(Side(f"u2net-hf remove, {engine}, {dtype}", build_command, (command_line, {}, target)))
    rows = [compare(f"a folder of {count} photos of 1 to 12 megapixels, from cold, to PNG", sides, rounds, count)]

    target = work_dir / "large.png"
    sides = [Side("rembg", build_server, (rembg.python, REMBG_SERVER, [NETWORK], rembg.variables, large, target))]
    for engine, dtype in engines:
        served: tuple[Any, ...] = (sys.executable, OUR_SERVER, [NETWORK, engine, dtype], {}, large, target)
        sides.append(Side(f"u2net-hf, {engine}, {dtype}", build_server, served))
    rows.append(compare("one photo of 12 megapixels, model loaded, JPEG to PNG", sides, 3 * rounds))
    note = "Photos: scikit-image's, enlarged, with noise. Weights: U²-Net†. Peak memory: of the largest process."
    save(output, "end-to-end", "Photo files to cut-outs", rows, [note, *note_cap()])


def run_from_cold(rounds: Rounds = 7, work_dir: WorkDir = WORK_DIR, output: Output = PAGE) -> None:
    """The command from cold, beside rembg."""
    check_cap()
    engines, rembg = usable_engines(), install_rembg(work_dir / "rembg")
    (photo,) = make_photos(work_dir / "small", [0.5])
    command, target = str(Path(sys.executable).with_name("u2net-hf")), str(work_dir / "small.png")
    sides = [
        Side("rembg i", build_command, ([rembg.command, "i", "-m", NETWORK, str(photo), target], rembg.variables))
    ]
    for engine, dtype in engines:
        chosen = ["--engine", engine, "--dtype", dtype, "--overwrite"]
        arguments = [command, "remove", str(photo), "-o", target, *chosen]
        sides.append(Side(f"u2net-hf remove, {engine}, {dtype}", build_command, (arguments, {})))
    rows = [compare("one photo of half a megapixel, from cold", sides, rounds)]
    helps = [
        Side("rembg --help", build_command, ([rembg.command, "--help"], rembg.variables)),
        Side("u2net-hf --help", build_command, ([command, "--help"], {})),
    ]
    rows.append(compare("--help", helps, rounds))
    save(output, "startup", "Starting up", rows, [STARTUP_NOTE, *note_cap()])
