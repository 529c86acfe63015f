from pathlib import Path

import pytest
from PIL import Image

from u2net_hf.data.pairing import LeftOut, find_folders, find_usable, pair_files

# Layout: the files, and what the pairs of each split should be (name: image, mask).
LAYOUTS = {
    "plain": (
        ["images/a.jpg", "images/b.png", "masks/a.png", "masks/b.png"],
        {"train": {"a": ("images/a.jpg", "masks/a.png"), "b": ("images/b.png", "masks/b.png")}},
    ),
    "splits": (
        ["train/images/a.jpg", "train/masks/a.png", "val/images/b.jpg", "val/masks/b.png"],
        {
            "train": {"a": ("train/images/a.jpg", "train/masks/a.png")},
            "validation": {"b": ("val/images/b.jpg", "val/masks/b.png")},
        },
    ),
    "splits inside": (
        ["images/train/a.jpg", "masks/train/a.png", "images/test/b.jpg", "masks/test/b.png"],
        {
            "train": {"a": ("images/train/a.jpg", "masks/train/a.png")},
            "test": {"b": ("images/test/b.jpg", "masks/test/b.png")},
        },
    ),
    "DUTS": (
        [
            "DUTS-TR/DUTS-TR-Image/a.jpg",
            "DUTS-TR/DUTS-TR-Mask/a.png",
            "DUTS-TE/DUTS-TE-Image/b.jpg",
            "DUTS-TE/DUTS-TE-Mask/b.png",
        ],
        {
            "train": {"a": ("DUTS-TR/DUTS-TR-Image/a.jpg", "DUTS-TR/DUTS-TR-Mask/a.png")},
            "test": {"b": ("DUTS-TE/DUTS-TE-Image/b.jpg", "DUTS-TE/DUTS-TE-Mask/b.png")},
        },
    ),
    "DUTS-TR": (
        ["DUTS-TR-Image/a.jpg", "DUTS-TR-Mask/a.png"],
        {"train": {"a": ("DUTS-TR-Image/a.jpg", "DUTS-TR-Mask/a.png")}},
    ),
    "ECSSD": (
        ["images/0001.jpg", "ground_truth_mask/0001.png"],
        {"train": {"0001": ("images/0001.jpg", "ground_truth_mask/0001.png")}},
    ),
    "HKU-IS": (
        ["HKU-IS/imgs/0004.png", "HKU-IS/gt/0004.png", "HKU-IS/testImgs.txt"],
        {"train": {"0004": ("HKU-IS/imgs/0004.png", "HKU-IS/gt/0004.png")}},
    ),
    "PASCAL-S": (
        [
            "datasets/imgs/pascal/1.jpg",
            "datasets/masks/pascal/1.png",
            "datasets/imgs/ft/1.jpg",
            "datasets/masks/ft/1.png",
        ],
        {
            "train": {
                "ft/1": ("datasets/imgs/ft/1.jpg", "datasets/masks/ft/1.png"),
                "pascal/1": ("datasets/imgs/pascal/1.jpg", "datasets/masks/pascal/1.png"),
            }
        },
    ),
    "DUT-OMRON": (
        ["DUT-OMRON-image/DUT-OMRON-image/im005.jpg", "pixelwiseGT-new-PNG/im005.png", "__MACOSX/x.jpg"],
        {"train": {"im005": ("DUT-OMRON-image/DUT-OMRON-image/im005.jpg", "pixelwiseGT-new-PNG/im005.png")}},
    ),
    "MSRA10K": (
        ["MSRA10K_Imgs_GT/Imgs/147.jpg", "MSRA10K_Imgs_GT/Imgs/147.png", "MSRA10K_Imgs_GT/ReadMe.txt"],
        {"train": {"147": ("MSRA10K_Imgs_GT/Imgs/147.jpg", "MSRA10K_Imgs_GT/Imgs/147.png")}},
    ),
    "SOD, one folder": (["2018.jpg", "2018.png"], {"train": {"2018": ("2018.jpg", "2018.png")}}),
    "Carvana": (
        ["train/imgs/a.jpg", "train/masks/a_mask.gif"],
        {"train": {"a": ("train/imgs/a.jpg", "train/masks/a_mask.gif")}},
    ),
    "one folder, named masks": (
        ["a (1).png", "a (1)_mask.png"],
        {"train": {"a (1)": ("a (1).png", "a (1)_mask.png")}},
    ),
    "ISBI 2012": (
        ["train/image/0.png", "train/label/0.png", "test/0.png"],
        {"train": {"0": ("train/image/0.png", "train/label/0.png")}},
    ),
}


def touch(root: Path, files: list[str]) -> None:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(tmp_path: Path, layout: str) -> None:
    files, expected = LAYOUTS[layout]
    touch(tmp_path, files)
    found = {}
    for split, folders in find_folders(tmp_path).items():
        pairs, left_out = pair_files(*folders)
        assert not left_out
        found[split] = {
            pair.name: tuple(Path(file).relative_to(tmp_path).as_posix() for file in (pair.image, pair.mask))
            for pair in pairs
        }
    assert found == expected


def test_no_pairs_anywhere(tmp_path: Path) -> None:
    touch(tmp_path, ["cats/a.jpg", "dogs/a.png", "images/b.jpg", "notes.txt"])
    assert find_folders(tmp_path) == {}


def test_every_file_without_partner_is_named_once(tmp_path: Path) -> None:
    touch(
        tmp_path,
        ["images/a.jpg", "images/b.jpg", "images/sub/c.jpg", "masks/a.png", "masks/d.png", "masks/sub/e.png"],
    )
    pairs, left_out = pair_files(tmp_path / "images", tmp_path / "masks")
    assert [pair.name for pair in pairs] == ["a"]
    assert left_out == {
        "image without a mask": ["b.jpg", "sub/c.jpg"],
        "mask without an image": ["d.png", "sub/e.png"],
    }
    assert left_out.describe().splitlines() == [
        "  image without a mask (2): b.jpg, sub/c.jpg",
        "  mask without an image (2): d.png, sub/e.png",
    ]


def test_stray_jpg_masks_beside_png(tmp_path: Path) -> None:
    touch(tmp_path, ["DUTS-TE-Image/a.jpg", "DUTS-TE-Mask/a.jpg", "DUTS-TE-Mask/a.png", "DUTS-TE-Mask/b.jpg"])
    pairs, left_out = pair_files(tmp_path / "DUTS-TE-Image", tmp_path / "DUTS-TE-Mask")
    assert [Path(pair.mask).name for pair in pairs] == ["a.png"]
    assert left_out == {"another mask of the same name": ["a.jpg"], "mask without an image": ["b.jpg"]}


def test_hidden_files_and_suffixes_in_capitals(tmp_path: Path) -> None:
    touch(tmp_path, ["images/a.JPG", "images/._a.jpg", "images/.ipynb_checkpoints/a-checkpoint.jpg", "masks/a.PNG"])
    pairs, left_out = pair_files(tmp_path / "images", tmp_path / "masks")
    assert [pair.name for pair in pairs] == ["a"]
    assert not left_out


def test_names_with_dots_and_letters_beyond_ascii(tmp_path: Path) -> None:
    touch(tmp_path, ["images/a.b.jpg", "images/a.c.jpg", "images/größe 1.jpg", "masks/a.b.png", "masks/größe 1.png"])
    pairs, left_out = pair_files(tmp_path / "images", tmp_path / "masks")
    assert [pair.name for pair in pairs] == ["a.b", "größe 1"]
    assert left_out == {"image without a mask": ["a.c.jpg"]}


def test_usable_pairs_open_and_agree_in_size(tmp_path: Path) -> None:
    files = {name: str(tmp_path / name) for name in ("a.png", "b.png", "broken.png")}
    Image.new("L", (5, 3)).save(files["a.png"])
    Image.new("L", (3, 5)).save(files["b.png"])
    Path(files["broken.png"]).write_bytes(b"not a picture")
    left_out = LeftOut()
    rows = [
        ("same", files["a.png"], files["a.png"]),
        ("turned", files["a.png"], files["b.png"]),
        ("damaged", files["a.png"], files["broken.png"]),
        ("missing", str(tmp_path / "missing.png"), files["a.png"]),
    ]
    assert find_usable(rows, left_out) == [0]
    assert left_out["image and mask differ in size"] == ["turned (image 5x3, mask 3x5)"]
    assert [text.split()[0] for text in left_out["cannot be opened"]] == ["damaged", "missing"]


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize(("orientation", "same_size"), [(1, False), (3, False), (6, True), (8, True)])
def test_size_is_that_after_the_exif_orientation(
    tmp_path: Path, suffix: str, orientation: int, same_size: bool
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image, mask = tmp_path / f"photo{suffix}", tmp_path / "mask.png"
    Image.new("RGB", (6, 4)).save(image, exif=exif)
    Image.new("L", (4, 6)).save(mask)
    assert find_usable([("photo", str(image), str(mask))], LeftOut()) == ([0] if same_size else [])
