"""Keep what was measured in a JSON file, one section for each verb, and draw the Markdown page from it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from u2net_hf.utils.files import write_atomically

PACKAGES = ("u2net-hf", "torch", "transformers", "pillow", "onnxruntime", "openvino", "scikit-image", "pysodmetrics")
INTRODUCTION = """# Benchmarks

Written by `scripts/benchmark.py`, which anyone can run again: `python scripts/benchmark.py --help`. The alternatives
of a table ran in turns, each in a process of its own. A time is the median of the rounds for one image, with the range
from the fastest to the slowest; a ratio is the first line's median over this line's, so more is faster; CPU is the
median of the time of all cores together. Other machines give other numbers.
"""
SECTIONS = ("model", "cuda", "end-to-end", "startup", "metrics", "training", "loader")


def save(output: Path, section: str, title: str, rows: Sequence[dict[str, Any]], notes: Sequence[str] = ()) -> None:
    """Put a section into the JSON file beside `output` and draw the page anew; other sections stay.

    Args:
        output: The Markdown page.
        section: Its name in the JSON file, one of `SECTIONS`.
        title: Its heading.
        rows: From [`benchmarks.timing.compare`].
        notes: Paragraphs below the tables.
    """
    file = output.with_suffix(".json")
    sections = json.loads(file.read_text()) if file.is_file() else {}
    date = datetime.now(UTC).isoformat(timespec="seconds")
    content = {"title": title, "date": date, "machine": describe_machine(), "versions": _versions()}
    sections[section] = content | {"rows": list(rows), "notes": list(notes)}
    write_atomically(file, json.dumps(sections, indent=2, ensure_ascii=False) + "\n")
    page = draw(sections)
    write_atomically(output, page)
    print(draw({section: sections[section]}).removeprefix(INTRODUCTION))


def draw(sections: dict[str, Any]) -> str:
    """The page, in the order of `SECTIONS`."""
    parts = [INTRODUCTION]
    for section in sorted(sections, key=SECTIONS.index):
        content = sections[section]
        versions = ", ".join(f"{name} {number}" for name, number in content["versions"].items())
        parts.append(f"\n## {content['title']}\n\n{content['machine']}; {versions}; {content['date'][:10]}.\n")
        parts += [_table(row) for row in content["rows"]]
        parts += [f"\n{note}\n" for note in content["notes"]]
    return "".join(parts)


def _table(row: dict[str, Any]) -> str:
    rounds = f"{row['rounds']} round" + "s" * (row["rounds"] > 1)
    lines = [f"\n### {row['work']}\n\n{rounds}\n", "| | ms | range | CPU, ms | ratio | goal | peak, MB |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for side in row["sides"]:
        digits = 0 if side["median_ms"] >= 100 else 1 if side["median_ms"] >= 10 else 3
        times = {name: f"{side[name]:.{digits}f}" for name in ("median_ms", "min_ms", "max_ms", "cpu_ms")}
        spread = f"{times['min_ms']}-{times['max_ms']}"
        peak = f"{side['peak_mb']:.0f}" if side["peak_mb"] else ""
        cells = [side["name"], times["median_ms"], spread, times["cpu_ms"], f"{side['ratio']:.2f}", _goal(side), peak]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _goal(side: dict[str, Any]) -> str:
    if side["goal"] is None:
        return ""
    missed = side["goal"] - side["ratio"]
    return f"{side['goal']:g}" + (f", missed by {missed:.2f}" if missed > 0 else "")


def describe_machine() -> str:
    """Processor, cores that this process may use, memory and system."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    flags = next((line.split() for line in lines if line.startswith("flags")), [])
    sets = [flag for flag in ("avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16") if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parts = [name or platform.processor() or platform.machine(), *sets, f"{cores} cores"]
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        parts.append(f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 1024**3:.0f} GB")
    return ", ".join([*parts, f"{platform.system()}, Python {platform.python_version()}"])


def _versions() -> dict[str, str]:
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
