"""Every Python snippet of a model's card runs, as it stands, on the repository that the card describes."""

import re
import shutil
from pathlib import Path

import huggingface_hub
import pytest
from cell_models import bright_finder
from PIL import Image
from tiny_models import tiny_u2net_config, tiny_unet_config

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)
from u2net_hf.hub.publish import publish_model
from u2net_hf.onnx_export.export import export_onnx

pytest.importorskip("onnxruntime")
SIZE = {"height": 32, "width": 32}


def save(family: str, folder: Path) -> None:
    """A tiny network of a family, with its image processor."""
    if family == "cells":
        bright_finder(folder, do_resize=True, size=SIZE)
        return
    if family == "unet":
        config = tiny_unet_config(num_channels=1)
        UNetForSemanticSegmentation(config).save_pretrained(folder)
        UNetImageProcessorPil.from_config(config, do_resize=True, size=SIZE).save_pretrained(folder)
    else:
        form = {"stem_channels": 3, "fuse_side_maps": False} if family == "isnet" else {}
        U2NetForImageSegmentation(tiny_u2net_config(**form)).save_pretrained(folder)
        U2NetImageProcessorPil(size=SIZE).save_pretrained(folder)


@pytest.mark.parametrize("family", ["u2net", "isnet", "unet", "cells"])
def test_snippets_of_a_card(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(family, tmp_path / "net")
    export_onnx(tmp_path / "net", "exported", dtypes=["float32"])
    publish_model(tmp_path / "net", "me/net", license="mit", onnx="exported", dry_run="repository")
    card = Path("repository", "README.md").read_text(encoding="utf-8")
    (tmp_path / "me").mkdir()
    shutil.move("repository", "me/net")  # a folder goes before a repository of the same name
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda repo_id, name: str(Path(repo_id, name)))
    for name in ("photo.jpg", "image.png"):
        Image.linear_gradient("L").convert("RGB").resize((48, 40)).save(name)
    names: dict = {}
    snippets = re.findall(r"^```python\n(.*?)^```", card, re.DOTALL | re.MULTILINE)
    assert len(snippets) == (3 if family in ("unet", "cells") else 2)
    for snippet in snippets:
        exec(snippet, names)
    if family == "unet":
        assert names["logits"].shape == (1, 2, 32, 32)
        assert names["labels"].shape == (40, 48)
    elif family == "cells":
        assert names["labels"].shape == (40, 48)
        assert names["labels"].max() == len(names["objects"]["segments_info"]) > 0
    else:
        assert names["saliency"].shape == (40, 48)
        assert Image.open("cut-out.png").mode == "RGBA"
