"""Tests of u2net_hf.hub.predictions: what `predict` made goes to the Hub whole, with a card that says how."""

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from corpus_helpers import make_model, read_rows, write_photos
from hub_server import Hub
from huggingface_hub import DatasetCard

from u2net_hf.corpus.predict import Plan, predict_here
from u2net_hf.corpus.rows import Columns
from u2net_hf.data.photos import load_photos
from u2net_hf.hub.predictions import publish_predictions

pytest_plugins = ["hub_fixtures"]


def test_a_target_goes_up_with_its_card(connected_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos, target = write_photos(tmp_path / "photos", 3), tmp_path / "maps"
    model = make_model(tmp_path / "net")
    plan = Plan(load_photos(photos, piece_size=2), str(target), [model], Columns(image=True), dtype="float32")
    list(predict_here(plan))
    (target / "data" / f".{'0' * 32}.part").write_bytes(b"of a killed process")
    publish_predictions(str(target), "me/maps", "cc-by-4.0")
    files = connected_hub.files("me/maps", "dataset")
    shards = sorted(name for name in files if name.endswith(".parquet"))
    assert shards == [f"data/part-{number:06d}-of-000002.parquet" for number in range(2)]
    rows = [row for name in shards for row in pq.read_table(io.BytesIO(files[name])).to_pylist()]
    assert {row["name"]: row for row in rows} == read_rows(target)
    assert not [name for name in files if ".part" in Path(name).suffixes]
    card = DatasetCard(files["README.md"].decode())
    assert card.data.license == "cc-by-4.0"
    variant = json.loads((target / "variant.json").read_text())
    for told in (variant["model"], variant["digest"], "float32", "32x32", "`map`", "`image`", "`error`"):
        assert told in card.text
    assert "`cut_out`" not in card.text
    everything = b"".join(content for name, content in files.items() if not name.endswith(".parquet"))
    assert str(tmp_path).encode() not in everything  # no path of this machine
