"""The Auto classes and both pipelines, in a process of its own: what `import u2net_hf` must make possible."""

import json
from collections.abc import Mapping
from importlib.metadata import requires
from pathlib import Path

import pytest
import transformers
from fresh_process import run_fresh
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import PreTrainedConfig, PreTrainedModel

from u2net_hf import (
    U2NetForImageSegmentation,
    U2NetImageProcessorPil,
    UNetForSemanticSegmentation,
    UNetImageProcessorPil,
    auto,
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
    seen["mask"] = [(mask.mode, mask.size) for mask in remover(photos[:2], mask=True)]
print(json.dumps(seen))
"""


def save(folder: Path, model: PreTrainedModel, processor: object) -> None:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def run(folder: Path, mode: str) -> dict:
    done = run_fresh(PROGRAM, folder, mode)
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


def altered_transformers(folder: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """The installed transformers, by links, but for some files: file or pattern -> (old text, new text)."""
    installed = Path(transformers.__file__).parent
    for pattern, (old, new) in changes.items():
        for file in installed.glob(pattern):
            source = file.read_text()
            copy = folder / "transformers" / file.relative_to(installed)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(source.replace(old, new))
            assert old in source or "*" in pattern
    made = {path for path in (folder / "transformers").rglob("*") if path.is_dir()} | {folder / "transformers"}
    for place in made:
        for entry in (installed / place.relative_to(folder / "transformers")).iterdir():
            if not (place / entry.name).exists() and entry.name != "__pycache__":
                (place / entry.name).symlink_to(entry)
    return folder


def run_with(folder: Path, program: str, *arguments: object) -> list[str]:
    """Run a program with the transformers of a folder; the lines on standard error."""
    done = run_fresh(program, *arguments, path=[str(folder)])
    assert done.returncode == 0, done.stderr
    return done.stderr.splitlines()


def test_an_old_transformers_stays_usable_and_is_named_in_one_line(tmp_path: Path) -> None:
    changes = {"__init__.py": (f'__version__ = "{transformers.__version__}"', '__version__ = "5.22.9"')}
    program = """
import u2net_hf
from transformers import AutoModel, AutoImageProcessor, BertConfig, pipeline
AutoModel.from_config(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
try:
    u2net_hf.U2NetConfig
except ImportError as error:
    assert "u2net_hf needs transformers 5.23 or newer" in str(error)
else:
    raise AssertionError
"""
    lines = run_with(altered_transformers(tmp_path, changes), program)
    assert len(lines) == 1, lines
    assert "u2net_hf needs transformers 5.23 or newer" in lines[0]
    assert "5.22.9" in lines[0]


def test_the_oldest_transformers_is_the_one_that_is_required() -> None:
    assert f"transformers>={'.'.join(map(str, auto.OLDEST))}" in requires("u2net-hf")


def test_a_network_of_transformers_own_is_left_alone(tmp_path: Path) -> None:
    """Once transformers has a "unet": it is its own that the Auto classes load, and ours works by its class."""
    changes = {
        "models/auto/auto_mappings.py": ('("umt5", "UMT5Config"),', '("umt5", "UMT5Config"), ("unet", "UNetConfig"),')
    }
    folder = altered_transformers(tmp_path, changes)
    (folder / "transformers/models/unet").mkdir()
    source = "from ..bert import BertConfig\nclass UNetConfig(BertConfig):\n    model_type = 'unet'\n"
    (folder / "transformers/models/unet/__init__.py").write_text(source)
    for name, model in (
        ("u2net", U2NetForImageSegmentation(tiny_u2net_config())),
        ("unet", UNetForSemanticSegmentation(tiny_unet_config())),
    ):
        model.save_pretrained(tmp_path / name)
    program = """
import sys
import u2net_hf
from transformers import AutoConfig, AutoModel
u2net, unet = sys.argv[1:]
for _ in range(2):
    assert type(AutoConfig.for_model("unet")).__module__ == "transformers.models.unet"
    assert type(AutoModel.from_pretrained(u2net)).__module__.startswith("u2net_hf.")
    ours = u2net_hf.UNetForSemanticSegmentation.from_pretrained(unet)
    assert type(AutoModel.from_config(ours.config)) is type(ours)
import transformers.models.unet
assert transformers.models.unet.__name__ == "transformers.models.unet"
"""
    lines = run_with(folder, program, tmp_path / "u2net", tmp_path / "unet")
    assert [line for line in lines if "a network 'unet' of its own" in line] == lines[:1]


def test_tables_that_have_moved_are_said_and_all_works(tmp_path: Path) -> None:
    renamed = ("CONFIG_MAPPING_NAMES", "CONFIGURATION_NAMES")
    changes = {"models/auto/*.py": renamed, "utils/auto_docstring.py": renamed}
    folder = altered_transformers(tmp_path, changes)
    processor = U2NetImageProcessorPil(size={"height": 16, "width": 16})
    save(tmp_path / "net", U2NetForImageSegmentation(tiny_u2net_config()), processor)
    lines = run_with(folder, PROGRAM, tmp_path / "net", "L")
    assert "has no CONFIG_MAPPING_NAMES in models/auto/configuration_auto.py" in lines[0]
    assert not [line for line in lines if "not supported" in line]


def test_without_the_table_of_the_image_segmentation_pipeline(tmp_path: Path) -> None:
    """Which is only there to keep the pipeline from logging that it does not support a model."""
    renamed = ("MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES", "SEMANTIC_SEGMENTATION_MODELS")
    folder = altered_transformers(
        tmp_path, {"models/auto/modeling_auto.py": renamed, "pipelines/image_segmentation.py": renamed}
    )
    for name, model, processor in (
        ("u2net", U2NetForImageSegmentation(tiny_u2net_config()), U2NetImageProcessorPil()),
        ("unet", UNetForSemanticSegmentation(tiny_unet_config()), UNetImageProcessorPil()),
    ):
        save(tmp_path / name, model, processor)
    program = """
import sys
import u2net_hf
from PIL import Image
from transformers import pipeline
for folder in sys.argv[1:]:
    for entry in pipeline("image-segmentation", model=folder)(Image.new("L", (30, 20), 90)):
        assert entry["mask"].size == (30, 20)
"""
    lines = run_with(folder, program, tmp_path / "u2net", tmp_path / "unet")
    assert [line for line in lines if "not supported" in line]  # or the table was not the pipeline's
