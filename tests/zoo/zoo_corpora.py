"""Corpora: masks of every kind, folders and tables that do not fit, metadata that leads elsewhere."""

import io
import json
import os
import tarfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from zoo_pictures import draw, encode, exif

SIDE = 24
CODE = "open('CODE RAN', 'w')\n"


def _object(number: int = 0) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[3 + number : 14, 4:17] = 1
    return mask


def _palette(colors: list[int], values: np.ndarray) -> Image.Image:
    image = Image.fromarray(values.astype(np.uint8), "P")
    image.putpalette(colors)
    return image


def _colored(*colors: tuple[int, int, int], number: int = 0) -> Image.Image:
    labels = _object(number) + (np.arange(SIDE) > SIDE // 2)[None] * (len(colors) > 2)
    return Image.fromarray(np.array(colors, np.uint8)[np.minimum(labels, len(colors) - 1)])


def _masks() -> dict[str, Callable[[int], tuple[Any, str]]]:
    """For each kind of mask a function from a number to the mask and its suffix."""
    array = Image.fromarray
    voc = [0, 0, 0, 128, 0, 0, 0, 128, 0] + [0] * 250 * 3 + [224, 224, 192] * 3
    soft = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 256).astype(np.uint8)
    rng = np.random.default_rng(0)
    return {
        "0-255": lambda n: (array(_object(n) * 255), "png"),
        "0-1": lambda n: (array(_object(n)), "png"),
        "0-1-2": lambda n: (array(_object(n) + (soft > 200)), "png"),
        "7-9": lambda n: (array(_object(n) * 2 + 7), "png"),
        "soft": lambda n: (array(soft), "png"),
        "empty": lambda n: (array(_object(n) * 0), "png"),
        "full": lambda n: (array(_object(n) * 0 + 255), "png"),
        "one-empty": lambda n: (array(_object(n) * (255 if n else 0)), "png"),
        "bilevel": lambda n: (array(_object(n) * 255).convert("1"), "png"),
        "palette": lambda n: (_palette([0, 0, 0, 255, 0, 0], _object(n)), "png"),
        "palette-black-last": lambda n: (_palette([255, 0, 0, 0, 0, 0], 1 - _object(n)), "gif"),
        "palette-same": lambda n: (_palette([9, 9, 9] * 2, _object(n)), "png"),
        "voc": lambda n: (_palette(voc, np.where(soft > 240, 255, _object(n))), "png"),
        "red": lambda n: (_colored((0, 0, 0), (255, 0, 0), number=n), "png"),
        "colors": lambda n: (_colored((0, 0, 0), (255, 0, 0), (0, 255, 0), number=n), "png"),
        "red-blue": lambda n: (_colored((255, 0, 0), (0, 0, 255), number=n), "bmp"),
        "alpha": lambda n: (array(np.dstack([soft] * 3 + [_object(n) * 255])), "png"),
        "gray-alpha": lambda n: (draw("LA", (SIDE, SIDE), n), "png"),
        "cut-out": lambda n: (draw("RGBA", (SIDE, SIDE), n), "png"),
        "16-bit": lambda n: (array(_object(n).astype(np.uint16) * 65535), "png"),
        "32-bit": lambda n: (array(_object(n).astype(np.int32) * 99999), "tif"),
        "float": lambda n: (array(_object(n).astype(np.float32)), "tif"),
        "float-nan": lambda n: (array(np.where(_object(n), np.nan, 0).astype(np.float32)), "tif"),
        "cmyk": lambda n: (array(_object(n) * 255).convert("CMYK"), "tif"),
        "jpeg": lambda n: (array(_object(n) * 255), "jpg"),
        "noise": lambda n: (array(rng.integers(0, 256, (SIDE, SIDE), np.uint8)), "png"),
        "other-size": lambda n: (array(_object(n)[:5] * 255), "png"),
        "one-other-size": lambda n: (array(_object(n)[: SIDE if n else 5] * 255), "png"),
        "one-pixel": lambda n: (Image.new("L", (1, 1), 255), "png"),
        "text": lambda n: (b"not a picture", "png"),
        "zero-bytes": lambda n: (b"", "png"),
        "cut": lambda n: (encode(array(_object(n) * 255), "png")[:60], "png"),
        "one-cut": lambda n: (encode(array(_object(n) * 255), "png")[: None if n else -30], "png"),
        "turned": lambda n: (encode(array(_object(n) * 255), "png", exif=exif(Orientation=6)), "png"),
    }


def _pairs(folder: Path, mask: Callable[[int], tuple[Any, str]] | None = None, count: int = 3) -> Path:
    """A folder with images/ and masks/."""
    mask = mask or _masks()["0-255"]
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        draw("RGB", (SIDE, SIDE), number).save(folder / "images" / f"{number}.jpg")
        made, suffix = mask(number)
        data = made if isinstance(made, bytes) else encode(made, suffix)
        (folder / "masks" / f"{number}.{suffix}").write_bytes(data)
    return folder


def _with_pictures(folder: Path, pictures: list[Path]) -> None:
    """Pictures of the zoo, each with a mask of its size as its header says."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for number, path in enumerate(pictures):
        name = f"{number}-{path.name}"
        (folder / "images" / name).write_bytes(path.read_bytes())
        try:
            with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                size = image.size
        except Exception:
            size = (9, 9)
        if 0 < size[0] * size[1] < 1_000_000:
            mask = Image.new("L", size)
            mask.putpixel((0, 0), 255)
            mask.save(folder / "masks" / f"{os.path.splitext(name)[0]}.png")


def _metadata(root: Path) -> list[Path]:
    """Image folders with metadata."""
    good = [{"file_name": f"images/{n}.jpg", "mask_file_name": f"masks/{n}.png"} for n in range(3)]
    row = good[0]
    made = []
    for name, text in {
        "good": "\n".join(map(json.dumps, good)),
        "absolute": json.dumps(row | {"mask_file_name": "/etc/passwd"}),
        "parent": json.dumps(row | {"mask_file_name": "../../good/png-L.png"}),
        "url": json.dumps(row | {"mask_file_name": "http://127.0.0.1:9/x.png"}),
        "missing-file": json.dumps(row | {"mask_file_name": "masks/99.png"}),
        "controls": json.dumps(row | {"mask_file_name": "masks/\x1b[31m.png"}),
        "cut": json.dumps(row)[:-9],
        "not-json": '"file_name" nonsense',
        "list": '["file_name"]',
        "number": json.dumps({"file_name": 7, "mask_file_name": 8}),
        "null": json.dumps({"file_name": None, "mask_file_name": None}),
        "no-mask": json.dumps({"file_name": "images/0.jpg"}),
        "nested": json.dumps({"file_name": {"a": 1}, "mask_file_name": [1]}),
        "deep": '{"file_name": ' + "[" * 20_000,
        "not-utf8": '{"file_name": "images/0.jpg", "mask_file_name": "\udcff"}',
    }.items():
        _pairs(folder := root / f"metadata-{name}")
        (folder / "metadata.jsonl").write_text(text, errors="surrogateescape")
        made.append(folder)
    for name, text in {
        "good": "file_name,mask_file_name\nimages/0.jpg,masks/0.png\n",
        "cut": 'file_name,mask_file_name\n"im',
    }.items():
        _pairs(folder := root / f"metadata-csv-{name}")
        (folder / "metadata.csv").write_text(text)
        made.append(folder)
    return made


def _tables(root: Path) -> list[Path]:
    """Parquet files, tars, saved data sets."""
    image, mask = encode(draw("RGB", (SIDE, SIDE)), "jpg"), encode(Image.fromarray(_object() * 255), "png")
    good = {"image": [{"bytes": image, "path": None}], "mask": [{"bytes": mask, "path": None}], "name": ["a"]}
    columns: dict[str, dict[str, list[Any]]] = {
        "good": good,
        "binary": {"image": [image], "mask": [mask]},
        "no-mask": {"image": good["image"]},
        "empty": {"image": [], "mask": []},
        "null": {"image": [None], "mask": [None], "name": [None]},
        "null-bytes": good | {"mask": [{"bytes": None, "path": None}]},
        "empty-bytes": good | {"mask": [{"bytes": b"", "path": None}]},
        "noise-bytes": good | {"image": [{"bytes": b"noise", "path": None}]},
        "outside": good | {"mask": [{"bytes": None, "path": "/etc/passwd"}]},
        "pipe": good | {"mask": [{"bytes": None, "path": "/dev/zero"}]},
        "text": {"image": ["a"], "mask": ["b"]},
        "numbers": {"image": [1], "mask": [2]},
        "name-controls": good | {"name": ["\x1b[31m\n\u202e"]},
        "name-path": good | {"name": ["../../../outside"]},
    }
    made = []
    for name, table in columns.items():
        (folder := root / f"parquet-{name}").mkdir()
        pq.write_table(pa.table(table), folder / "train.parquet")
        made.append(folder)
    data = (root / "parquet-good" / "train.parquet").read_bytes()
    for name, content in {
        "cut": data[: len(data) // 2],
        "nothing": b"",
        "noise": b"PAR1" + b"x" * 99 + b"PAR1",
    }.items():
        (folder := root / f"parquet-{name}").mkdir()
        (folder / "train.parquet").write_bytes(content)
        made.append(folder)
    for name, member in {
        "good": "a.jpg",
        "parent": "../../a.jpg",
        "absolute": "/tmp/a.jpg",
        "controls": "\x1b[31m.jpg",
    }.items():
        (folder := root / f"tar-{name}").mkdir()
        with tarfile.open(folder / "train.tar", "w") as tar:
            for file, content in ((member, image), (member.replace(".jpg", ".png"), mask)):
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
        made.append(folder)
    whole = (root / "tar-good" / "train.tar").read_bytes()
    (folder := root / "tar-cut").mkdir()
    (folder / "train.tar").write_bytes(whole[:900])
    made.append(folder)
    for name, state in {
        "saved-no-json": "nonsense",
        "saved-outside": json.dumps({"_data_files": [{"filename": "../../../etc/passwd"}]}),
        "saved-missing": json.dumps({"_data_files": [{"filename": "data.arrow"}]}),
        "saved-list": "[]",
        "saved-empty": "{}",
        "saved-odd": json.dumps({"_data_files": [7]}),
    }.items():
        (folder := root / name).mkdir()
        (folder / "state.json").write_text(state)
        (folder / "dataset_info.json").write_text("{}")
        made.append(folder)
    (folder := root / "saved-dict").mkdir()
    (folder / "dataset_dict.json").write_text('{"splits": ["../../x", 7]}')
    return [*made, folder]


def _layouts(root: Path) -> list[Path]:
    """Folders of pairs where something is amiss."""
    (empty := root / "layout-empty").mkdir()
    (no_masks := root / "layout-no-masks" / "images").mkdir(parents=True)
    draw().save(no_masks / "a.jpg")
    more = _pairs(root / "layout-more-images", count=5)
    for number in (1, 3):
        (more / "masks" / f"{number}.png").unlink()
    (more / "masks" / "only-a-mask.png").write_bytes(encode(Image.fromarray(_object() * 255), "png"))
    odd = _pairs(root / "layout-odd-names")
    for name in ("\x1b[31mred", "new\nline", "\u202ertl", "-dash", "x" * 200, "$(id)", "ünïcode"):
        (odd / "images" / f"{name}.jpg").write_bytes((odd / "images" / "0.jpg").read_bytes())
        if "x" not in name:
            (odd / "masks" / f"{name}.png").write_bytes((odd / "masks" / "0.png").read_bytes())
    (odd / "images" / "alone\x1b[31m.jpg").write_bytes((odd / "images" / "0.jpg").read_bytes())
    same = _pairs(root / "layout-same-stem")
    draw("RGB", (SIDE, SIDE), 9).save(same / "images" / "0.png")
    special = _pairs(root / "layout-special")
    os.mkfifo(special / "images" / "pipe.jpg")
    os.mkfifo(special / "masks" / "pipe.png")
    (special / "images" / "folder.jpg").mkdir()
    (special / "masks" / "folder.png").mkdir()
    (special / "images" / "broken.jpg").symlink_to("nowhere")
    (special / "masks" / "broken.png").symlink_to("broken.png")
    (special / "images" / "loop").symlink_to("..")
    (special / "images" / "zero.jpg").symlink_to("/dev/zero")
    (special / "masks" / "zero.png").symlink_to("/dev/zero")
    code = _pairs(root / "layout-code")
    (code / "layout-code.py").write_text(CODE)
    (code / "dataset_infos.json").write_text("nonsense")
    only_code = root / "layout-only-code"
    only_code.mkdir()
    (only_code / "layout-only-code.py").write_text(CODE)
    large = _pairs(root / "layout-wide")
    for kind, mode in (("images", "RGB"), ("masks", "L")):
        draw(mode, (3000, 1)).save(large / kind / "0.png")
    file = root / "file.txt"
    file.write_text("no corpus")
    picture = root / "picture.png"
    picture.write_bytes(encode(draw(), "png"))
    os.mkfifo(root / "pipe.parquet")
    return [
        empty,
        no_masks.parent,
        more,
        odd,
        same,
        special,
        code,
        only_code,
        large,
        file,
        picture,
        root / "pipe.parquet",
    ]


def make_corpora(root: Path, good: list[Path], damaged: list[Path]) -> list[Path]:
    """Make corpora below a folder; two are of the zoo's pictures."""
    root.mkdir()
    made = [_pairs(root / f"masks-{name}", mask) for name, mask in _masks().items()]
    for name, pictures in (("pictures-good", good), ("pictures-damaged", damaged)):
        _with_pictures(root / name, pictures)
    made += [root / "pictures-good", root / "pictures-damaged", *_layouts(root), *_metadata(root), *_tables(root)]
    return [*made, root / "not there", root / "name \x1b[31mred"]
