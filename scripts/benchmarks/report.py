"""Keep what was measured in a JSON file, by class of processor and verb, and draw the Markdown page from it."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from u2net_hf.utils.files import write_atomically

from .capped_engines import engines_are_capped

PACKAGES = ("u2net-hf", "torch", "transformers", "pillow", "onnxruntime", "openvino", "scikit-image", "pysodmetrics")
INTRODUCTION = """# Benchmarks

Written by `scripts/benchmark.py`, which anyone can run again: `python scripts/benchmark.py --help`. The alternatives
of a table ran in turns, each in a process of its own. A time is the median of the rounds for one image, with the range
from the fastest to the slowest; a ratio is the first line's median over this line's, so more is faster; CPU is the
median of the time of all cores together. Processors of other classes give other ratios: each class
has a part of its own.
"""
CAPPED = "PyTorch was held to fewer instructions than the processor has; the other engines were not, and not measured."
CAPPED_TOO = "All engines were held to fewer instructions than the processor has, the others by `cap-engines`."
EMULATED = "bfloat16: not measured, for this processor only emulates it."
CPUINFO = Path("/proc/cpuinfo")
FEATURES = (
    *("avx2", "avx_vnni", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)
CAPS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA")
CLASSES = {
    "AMX": {"amx_tile", "amx_bf16"},
    "AVX-512 with bfloat16": {"avx512f", "avx512_bf16"},
    "AVX-512": {"avx512f"},
    "AVX2": {"avx2"},
    "Arm with bfloat16": {"asimd", "bf16"},
    "Arm": {"asimd"},
}
SECTIONS = (
    "model",
    "detail",
    "cuda",
    "end-to-end",
    "cells",
    "startup",
    "serving",
    "browser",
    "metrics",
    "training",
    "loader",
)


def save(
    output: Path,
    section: str,
    title: str,
    rows: Sequence[dict[str, Any]],
    notes: Sequence[str] = (),
    part: str | None = None,
) -> None:
    """Put a section into the JSON file beside `output`, under this processor's class, and draw the page anew.

    What was measured on processors of other classes stays, as do the other sections.

    Args:
        output: The Markdown page.
        section: Its name in the JSON file, one of `SECTIONS`.
        title: Its heading.
        rows: From [`benchmarks.timing.compare`], or tables of other columns: `work`, `columns`, `lines` of cells.
        notes: Paragraphs below the tables.
        part: What the section is of, if not of this processor's class: a GPU.
    """
    file = output.with_suffix(".json")
    classes = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    content: dict[str, Any] = {"title": title, "date": date, "machine": describe_machine(), "versions": _versions()}
    content |= {"rows": list(rows), "notes": list(notes)}
    classes.setdefault(part or processor_class(), {})[section] = content
    write_atomically(file, json.dumps(classes, indent=2, ensure_ascii=False) + "\n")
    write_atomically(output, draw(classes))
    print(_draw_section(content))


def draw(classes: dict[str, dict[str, Any]]) -> str:
    """The page: a part for each class of processors, with its sections in the order of `SECTIONS`."""
    parts = [INTRODUCTION]
    for name, sections in sorted(classes.items()):
        parts.append(f"\n## {name}\n")
        parts += [_draw_section(sections[section]) for section in sorted(sections, key=SECTIONS.index)]
    return "".join(parts)


def _draw_section(content: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
    parts = [f"\n### {content['title']}\n\n{content['machine']}; {versions}; {content['date'][:10]}.\n"]
    parts += [_table(row) for row in content["rows"]]
    return "".join([*parts, *(f"\n{note}\n" for note in content["notes"])])


def saved_lines(output: Path, section: str) -> list[list[str]]:
    """The lines of a section's first table, if it has other columns: what was measured on this class earlier."""
    file = output.with_suffix(".json")
    classes = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    tables = classes.get(processor_class(), {}).get(section, {}).get("rows", [])
    return tables[0]["lines"] if tables else []


def _table(row: dict[str, Any]) -> str:
    if "columns" in row:
        rule = "|---|" + "---:|" * (len(row["columns"]) - 1)
        lines = ["| " + " | ".join(cells) + " |" for cells in (row["columns"], *row["lines"])]
        return "\n".join([f"\n#### {row['work']}\n", lines[0], rule, *lines[1:]]) + "\n"
    rounds = f"{row['rounds']} round" + "s" * (row["rounds"] > 1)
    lines = [f"\n#### {row['work']}\n\n{rounds}\n", "| | ms | range | CPU, ms | ratio | peak, MB |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for side in row["sides"]:
        digits = 0 if side["median_ms"] >= 100 else 1 if side["median_ms"] >= 10 else 3
        times = {name: f"{side[name]:.{digits}f}" for name in ("median_ms", "min_ms", "max_ms", "cpu_ms")}
        spread = f"{times['min_ms']}-{times['max_ms']}"
        peak = f"{side['peak_mb']:.0f}" if side["peak_mb"] else ""
        cells = [side["name"], times["median_ms"], spread, times["cpu_ms"], f"{side['ratio']:.2f}", peak]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def cap() -> str | None:
    """The variables that hold PyTorch to what an older processor has, as text; `None` where there are none."""
    return " ".join(f"{name}={os.environ[name]}" for name in CAPS if name in os.environ) or None


def is_cap_partial() -> bool:
    """Whether PyTorch is held back and the other engines are not, so that the two cannot be compared."""
    return cap() is not None and not engines_are_capped()


def note_cap() -> list[str]:
    """What is to say of the cap, if there is one."""
    if cap() is None:
        return []
    return [CAPPED_TOO if engines_are_capped() else CAPPED]


def processor_class() -> str:
    """The class of this processor, by what changes the speed of a network most: the widest instructions it has.

    A cap makes a class of its own: the rest of the processor stays as it is.
    """
    if cap():
        return f"{os.environ.get('ONEDNN_MAX_CPU_ISA', 'another')}, by capping"
    features = set(_processor()[1])
    return next((name for name, needed in CLASSES.items() if features >= needed), platform.machine())


def describe_machine() -> str:
    """Processor and its features, cores that this process may use, memory and system."""
    name, features = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [name, *(feature for feature in FEATURES if feature in features), *filter(None, [cap()]), f"{cores} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024**3:.0f} GB")
    return ", ".join([*parts, f"{platform.system()}, Python {platform.python_version()}"])


def _processor() -> tuple[str, list[str]]:
    """Model and features of the processor, as Linux tells them; elsewhere what Python knows."""
    entries: dict[str, str] = {}
    if CPUINFO.is_file():
        entries = dict(re.findall(r"^(.*?)\s*: (.*)$", CPUINFO.read_text(), flags=re.MULTILINE))
    name = entries.get("model name") or platform.processor() or platform.machine()
    return name, entries.get("flags", entries.get("Features", "")).split()


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    return versions
