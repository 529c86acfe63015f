"""The log of a training: lines of JSON, continued without duplicates after a resume."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from ..utils.files import write_atomically


def finite_or_none(values: Mapping[str, float]) -> dict[str, float | None]:
    """Numbers as JSON knows them: what is not finite is `None`, written as null."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


class TrainingLog:
    """The values of a training by step, in a file and in the experiment trackers.

    It holds nothing that depends on time, so the logs of two runs can be compared byte by byte. Only the main process
    writes.

    Args:
        path: The file, of JSON lines `{"step": 10, "loss": 0.7, ...}`.
        accelerator: Knows the process and the trackers.
    """

    def __init__(self, path: Path, accelerator: Accelerator) -> None:
        self.path, self.accelerator = path, accelerator

    def write(self, step: int, values: Mapping[str, float | None]) -> None:
        """Append a line, and tell the trackers what is a number."""
        if self.accelerator.is_main_process:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **values}, allow_nan=False) + "\n")
        self.accelerator.log({name: value for name, value in values.items() if value is not None}, step=step)

    def read(self) -> list[dict[str, Any]]:
        """The lines, up to the first that was cut short."""
        lines = []
        for text in self.path.read_text(encoding="utf-8").splitlines() if self.path.is_file() else []:
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                break
        return lines

    def cut(self, step: int) -> None:
        """Remove the lines after a step: they will be written again."""
        if self.accelerator.is_main_process:
            lines = [json.dumps(line) + "\n" for line in self.read() if line["step"] <= step]
            write_atomically(self.path, "".join(lines))
