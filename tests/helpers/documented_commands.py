"""The command lines of the README and of the guides, as a reader would type them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# `accelerate launch ... -m u2net_hf.cli.train_sod` and torchrun start a verb on many processes.
LAUNCHED = re.compile(r"^(?:accelerate launch|torchrun)\b.* -m u2net_hf(?:\.cli\.(\w+))?\s+(.*)$")


class Command(NamedTuple):
    """A line with `u2net-hf`."""

    place: str
    arguments: list[str]
    stdin: str | None
    stdout: str | None


def documented_commands() -> list[Command]:
    """All of them, each once; lines with an ellipsis, or with a variable of a loop, are left out."""
    found: dict[tuple[str, ...], Command] = {}
    for page in PAGES:
        for line in shell_lines(page.read_text(encoding="utf-8")):
            command = parse(line.strip(), page.name)
            if command:
                found.setdefault((*command.arguments, str(command.stdin)), command)
    return list(found.values())


def shell_lines(text: str) -> Iterator[str]:
    """The lines of a page's fenced blocks for a shell, each with those that continue it."""
    language = None  # of the block that a line is in
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip().startswith("```"):
            language = line.strip()[3:] or "shell" if language is None else None
        elif language in ("shell", "bash"):
            yield line


def parse(line: str, page: str) -> Command | None:
    """The command of a line, if it is one of ours."""
    if "..." in line or "$" in line:
        return None
    words = shlex.split(line, comments=True)
    stdin = stdout = None
    if words[:1] == ["cat"] and "|" in words:
        stdin, words = words[1], words[words.index("|") + 1 :]
    if ">" in words:
        stdout, words = words[-1], words[:-2]
    if words[:1] == ["u2net-hf"]:
        return Command(page, words[1:], stdin, stdout)
    launched = LAUNCHED.match(" ".join(words))
    if launched:
        verb = [launched[1].replace("_", "-")] if launched[1] else []
        return Command(page, [*verb, *shlex.split(launched[2])], None, None)
    return None
