"""What `u2net-hf predict` made, as a data set on the Hub, with a card of how it was made."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import fsspec

from .cards import fill_template
from .upload import upload_folder

DESCRIPTIONS = {
    "name": "the photo's name in its source",
    "image": "the photo: the original file, unchanged",
    "map": "how salient each pixel is: gray, 0 = background, the highest value = object",
    "cut_out": "the photo with the map as its transparency",
    "labels": "numbered objects, 0 = background, 16 bits",
    "error": "why a photo could not be done; its other columns are empty then",
}


def publish_predictions(
    target: str, repo_id: str, license: str, *, private: bool = False, token: str | None = None
) -> str:
    """Upload a target of `predict` in one commit.

    Args:
        target: Its folder or address.
        repo_id: The data set on the Hub, "user/name".
        license: Terms of the data, for the card.
        private: Whether a new repository is private.
        token: Token of the Hub; by default that of `hf auth login` or `HF_TOKEN`.

    Returns:
        The address of the repository.

    Raises:
        HubError: If the Hub was not reached or refused.
    """
    with tempfile.TemporaryDirectory(prefix="u2net-hf-") as temporary:
        folder = Path(temporary)
        write_predictions(folder, target, repo_id, license)
        return upload_folder(
            folder,
            repo_id,
            repo_type="dataset",
            message="Upload with u2net_hf",
            replaced=("data/*.parquet",),
            private=private,
            token=token,
        )


def write_predictions(folder: Path, target: str, repo_id: str, license: str) -> None:
    """Write the folder of the data set: its shards, how they were made, and the card."""
    system, root = fsspec.core.url_to_fs(os.path.expanduser(target))
    (folder / "data").mkdir()
    for shard in sorted(system.glob(f"{root}/data/*.parquet")):
        place = folder / "data" / Path(shard).name
        try:
            os.link(shard, place)  # a local target may be large
        except OSError:
            system.get_file(shard, str(place))
    variant = json.loads(system.cat_file(f"{root}/variant.json"))
    if "://" not in variant["source"]:
        variant["source"] = Path(variant["source"]).name  # without a path of this machine
    (folder / "variant.json").write_text(json.dumps(variant, indent=2) + "\n", encoding="utf-8")
    card = fill_template(
        "dataset/predictions.md",
        repo_id=repo_id,
        title=repo_id.rpartition("/")[2],
        license=json.dumps(license),
        variant=variant,
        columns={name: DESCRIPTIONS[name] for name in variant["columns"]},
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
