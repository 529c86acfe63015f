"""Files that come with the package."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def find_template(name: str) -> Path:
    """Path of a template, for example "model/README.md": in the installed package, or in a checkout beside `src`.

    Raises:
        FileNotFoundError: If there is none of that name.
    """
    for folder in (PACKAGE / "hub_cards", PACKAGE.parents[1] / "hub_cards"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(f"The template hub_cards/{name} is missing: install u2net_hf again.")
