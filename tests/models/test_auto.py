"""The Auto classes and both pipelines, in a process of its own: what `import u2net_hf` must make possible."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import PreTrainedConfig, PreTrainedModel

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
)

PROGRAM = """
import json, sys, warnings
warnings.simplefilter("error", FutureWarning)
import u2net_hf
from PIL import Image
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageSegmentation
from transformers import AutoModelForSemanticSegmentation, pipeline
folder, mode = sys.argv[1:]
seen = {"config": type(AutoConfig.from_pretrained(folder)).__name__}
for auto in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
    seen[auto.__name__] = type(auto.from_pretrained(folder)).__name__
seen["processor"] = type(AutoImageProcessor.from_pretrained(folder, backend="pil")).__name__
sizes = ((30, 20), (17, 33), (30, 20), (8, 9), (40, 8), (9, 9), (12, 12), (5, 3))
photos = [Image.new(mode, size, 90) for size in sizes]
segment = pipeline("image-segmentation", model=folder)
seen["image-segmentation"] = [[entry["mask"].size for entry in entries] for entries in segment(photos)]
seen["labels"] = sorted({entry["label"] for entries in segment(photos) for entry in entries})
if seen["config"] == "U2NetConfig":
    remover = pipeline("background-removal", model=folder)
    seen["batched segmentation"] = len(segment(photos, batch_size=8))
    seen["background-removal"] = [(cut.mode, cut.size) for cut in remover(photos, batch_size=8)]
    seen["mask"] = [(mask.mode, mask.size) for mask in remover(photos[:2], return_mask=True)]
print(json.dumps(seen))
"""


def save(folder: Path, model: PreTrainedModel, processor: object) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def run(folder: Path, mode: str) -> dict:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder), mode], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for word in ("ERROR", "Error", "not supported", "Traceback", "trust_remote_code"):
        assert word not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_u2net_in_a_process_of_its_own(tmp_path: Path) -> None:
    processor = U2NetImageProcessorPil(size={"height": 16, "width": 16})
    save(tmp_path, U2NetForImageSegmentation(tiny_u2net_config()), processor)
    seen = run(tmp_path, "L")
    sizes = [[30, 20], [17, 33], [30, 20], [8, 9], [40, 8], [9, 9], [12, 12], [5, 3]]
    assert seen["config"] == "U2NetConfig"
    assert seen["AutoModel"] == "U2NetForImageSegmentation"
    assert seen["AutoModelForImageSegmentation"] == seen["AutoModelForSemanticSegmentation"] == seen["AutoModel"]
    assert seen["processor"] == "U2NetImageProcessorPil"
    assert [entry[0] for entry in seen["image-segmentation"]] == sizes
    assert set(seen["labels"]) <= {"background", "salient object"}
    assert seen["batched segmentation"] == 8
    assert seen["background-removal"] == [["RGBA", size] for size in sizes]
    assert seen["mask"] == [["L", [30, 20]], ["L", [17, 33]]]


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_unet_in_a_process_of_its_own(tmp_path: Path, padding: str) -> None:
    config: PreTrainedConfig = tiny_unet_config(padding=padding)
    save(tmp_path, UNetForSemanticSegmentation(config), UNetImageProcessorPil.from_config(config))
    seen = run(tmp_path, "L")
    assert seen["config"] == "UNetConfig"
    assert seen["AutoModel"] == "UNetForSemanticSegmentation"
    assert seen["AutoModelForImageSegmentation"] == seen["AutoModelForSemanticSegmentation"] == seen["AutoModel"]
    assert seen["processor"] == "UNetImageProcessorPil"
    assert [entry[0] for entry in seen["image-segmentation"]][:3] == [[30, 20], [17, 33], [30, 20]]
