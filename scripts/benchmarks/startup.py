"""From cold: the command with one small photo, and its help, beside rembg."""

from __future__ import annotations

import sys
from pathlib import Path

from .commands import build_command
from .end_to_end import usable_engines
from .options import PAGE, WORK_DIR, Output, Rounds, WorkDir, check_cap
from .photos import make_photos
from .rembg_rival import NETWORK, install_rembg
from .report import note_cap, save
from .timing import Side, compare

NOTE = "Files are in the system's cache; nothing is fetched."


def run(rounds: Rounds = 7, work_dir: WorkDir = WORK_DIR, output: Output = PAGE) -> None:
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
    save(output, "startup", "Starting up", rows, [NOTE, *note_cap()])
