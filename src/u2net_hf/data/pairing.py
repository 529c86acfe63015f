"""Find the pairs of image and mask in a folder, in the layouts in which the data sets are published.

A layout is a folder of images beside a folder of masks, one folder of .jpg photos with .png masks, or one of these
per split. Files pair by their path below the folder without its suffix. What does not fit is collected by reason.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from ..models.u2net.photo_u2net import lies_sideways
from ..utils.console import printable

# Lower-case names of folders, the first that exists is taken; those that belong to one data set name it.
IMAGE_FOLDERS = (
    "images",  # ECSSD too
    "image",
    "imgs",  # HKU-IS, PASCAL-S, Carvana; with the masks in it: MSRA10K, SOD
    "img",
    "im",  # DIS5K
    "duts-tr-image",
    "duts-te-image",
    "dut-omron-image",
)
MASK_FOLDERS = (
    "masks",  # PASCAL-S, Carvana
    "mask",
    "ground_truth_mask",  # ECSSD
    "ground_truth",
    "gt",  # HKU-IS, DIS5K
    "gts",
    "labels",
    "label",  # ISBI 2012 as commonly shared
    "duts-tr-mask",
    "duts-te-mask",
    "pixelwisegt-new-png",  # DUT-OMRON
)
INSTANCE_FOLDERS = ("instances", "label_maps", "labels", "label", *MASK_FOLDERS)
SPLITS = {
    **dict.fromkeys(("train", "training", "tr", "duts-tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "te", "duts-te"), "test"),
}
# In order of preference where one name has several files: photos are JPEG, masks are without loss (DUTS-TE has two
# stray .jpg masks beside the .png ones).
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
MASK_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".gif", ".webp", ".pgm", ".ppm", ".jpg", ".jpeg")
MASK_ENDING = re.compile(r"[-_ ](mask|masks|gt|label|labels|matte|alpha)$", re.IGNORECASE)


class FilePair(NamedTuple):
    """An image file and its mask file; `name` is their common path below the folder, without a suffix."""

    name: str
    image: str
    mask: str


class LeftOut(defaultdict[str, list[str]]):
    """Files that are not part of a corpus, by the reason."""

    def __init__(self) -> None:
        super().__init__(list)

    def describe(self) -> str:
        """One line per reason, with the count and every name."""
        return "\n".join(
            f"  {reason} ({len(names)}): {', '.join(map(printable, names))}" for reason, names in self.items()
        )


def find_folders(root: Path, mask_folders: tuple[str, ...] = MASK_FOLDERS) -> dict[str, tuple[Path, Path]]:
    """Find the folders of images and of masks (whose names, in order of preference, can be given) below `root`.

    Returns:
        `dict`: `{split: (folder of images, folder of masks)}`, in the order "train", "validation", "test"; "train" for
        a folder without splits. Both folders are the same if one holds photos and masks. Empty if nothing is found.
    """
    folders = _folders_in(root)
    images, masks = _first(folders, IMAGE_FOLDERS), _first(folders, mask_folders)
    found: dict[str, tuple[Path, Path]] = {}
    if images and masks:
        images, masks = _unwrap(images), _unwrap(masks)
        masks_by_split = _folders_in(masks)
        for name, folder in _folders_in(images).items():
            if name in SPLITS and name in masks_by_split:
                found[SPLITS[name]] = (folder, masks_by_split[name])
        found = found or {"train": (images, masks)}
    elif _files_in_one_folder(images or root)[1]:
        found = {"train": (images or root, images or root)}
    for name, folder in folders.items():
        if name in SPLITS and (inside := find_folders(folder, mask_folders).get("train")):
            found[SPLITS[name]] = inside
    if not found and len(folders) == 1:
        return find_folders(next(iter(folders.values())), mask_folders)
    return {split: found[split] for split in dict.fromkeys(SPLITS.values()) if split in found}


def pair_files(images: Path, masks: Path) -> tuple[list[FilePair], LeftOut]:
    """Pair the files of two folders (or of one, given twice), sorted by name.

    A mask may carry an ending such as `_mask` or `_gt` that its image has not. Of several files with one name the
    likelier is taken: a .jpg photo, a .png mask.

    Returns:
        The pairs, none of which has been opened, and the names of the files that have no partner.
    """
    left_out = LeftOut()
    image_files, mask_files = (
        _files_in_one_folder(images) if images == masks else (_files_below(images), _files_below(masks))
    )
    image_of = _choose(image_files, IMAGE_SUFFIXES, "another image of the same name", left_out)
    mask_of = _choose(mask_files, MASK_SUFFIXES, "another mask of the same name", left_out)
    plain_names = {MASK_ENDING.sub("", name): name for name in mask_of if name not in image_of}
    pairs = []
    for name in sorted(image_of):
        mask = mask_of.pop(name, None) or mask_of.pop(plain_names.get(name, ""), None)
        if mask is None:
            left_out["image without a mask"].append(_short(image_of[name], images))
        else:
            pairs.append(FilePair(name, image_of[name], mask))
    for mask in sorted(mask_of.values()):
        left_out["mask without an image"].append(_short(mask, masks))
    return pairs, left_out


def find_usable(files: Iterable[tuple[str, str | BinaryIO, str | BinaryIO]], left_out: LeftOut) -> list[int]:
    """Open the headers of images and masks, and tell which pairs can be used.

    Only headers are read: a file that is damaged further on is found when it is decoded.

    Args:
        files: Name, image and mask (path or open stream) of each pair.
        left_out: Gets the names of those that do not open or whose sizes differ.

    Returns:
        The indices of the others.
    """
    kept = []
    for index, (name, image, mask) in enumerate(files):
        try:
            image_size, mask_size = _oriented_size(image), _oriented_size(mask)
        except Exception as error:  # Pillow's readers raise whatever a damaged header makes them raise
            left_out["cannot be opened"].append(f"{name} ({str(error) or repr(error)})")
            continue
        if image_size == mask_size:
            kept.append(index)
        else:
            sizes = f"image {image_size[0]}x{image_size[1]}, mask {mask_size[0]}x{mask_size[1]}"
            left_out["image and mask differ in size"].append(f"{name} ({sizes})")
    return kept


def _oriented_size(file: str | BinaryIO) -> tuple[int, int]:
    """Width and height after the EXIF orientation, from the header alone."""
    if isinstance(file, str):
        file.encode()  # a table of paths holds no others
        if os.path.exists(file) and not os.path.isfile(file):
            raise OSError("is a pipe or a device, not a file")
    with Image.open(file) as picture:
        width, height = picture.size
        return (height, width) if lies_sideways(picture) else (width, height)


def _folders_in(folder: Path) -> dict[str, Path]:
    """Sub-folders by lower-case name, without hidden ones and what archives of a Mac leave."""
    names = sorted(entry.name for entry in os.scandir(folder) if os.path.isdir(entry))
    return {name.lower(): folder / name for name in names if not name.startswith((".", "__"))}


def _first(folders: dict[str, Path], names: tuple[str, ...]) -> Path | None:
    return next((folders[name] for name in names if name in folders), None)


def _unwrap(folder: Path) -> Path:
    """Go down while a folder holds one folder and no pictures: archives are often unpacked into one of their name."""
    while len(inside := _folders_in(folder)) == 1 and not _files_in(folder):
        folder = next(iter(inside.values()))
    return folder


def _files_in(folder: Path | str) -> list[str]:
    """Picture files directly in a folder, sorted, without hidden ones; pipes and broken links too, to be named."""
    return sorted(
        entry.path
        for entry in os.scandir(folder)
        if entry.name.lower().endswith(IMAGE_SUFFIXES) and not entry.name.startswith(".") and not os.path.isdir(entry)
    )


def _files_below(folder: Path) -> dict[str, list[str]]:
    """Picture files in a folder and its sub-folders, by path below it without the suffix."""
    found = defaultdict(list)
    for parent, folders, _ in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith((".", "__"))]
        for file in _files_in(parent):
            found[os.path.splitext(_short(file, folder))[0]].append(file)
    return dict(found)


def _files_in_one_folder(folder: Path) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Images and masks of one folder: a mask ends in `_mask` or the like, or is the .png beside a .jpg."""
    files = defaultdict(list)
    for file in _files_in(folder):
        files[os.path.splitext(_short(file, folder))[0]].append(file)
    images: dict[str, list[str]] = defaultdict(list)
    masks: dict[str, list[str]] = defaultdict(list)
    for name, same_name in files.items():
        photos = [file for file in same_name if file.lower().endswith((".jpg", ".jpeg"))]
        plain_name = MASK_ENDING.sub("", name)
        for file in same_name:
            is_mask = plain_name in files if plain_name != name else bool(photos) and file not in photos
            (masks if is_mask else images)[name].append(file)
    return images, masks


def _choose(files: dict[str, list[str]], suffixes: tuple[str, ...], reason: str, left_out: LeftOut) -> dict[str, str]:
    """One file per name, by the order of the suffixes."""
    chosen = {}
    for name, same_name in files.items():
        chosen[name], *others = sorted(same_name, key=lambda file: suffixes.index(os.path.splitext(file)[1].lower()))
        if others:
            left_out[reason].extend(os.path.basename(file) for file in others)
    return chosen


def _short(file: str, folder: Path) -> str:
    """Path below `folder`, with forward slashes."""
    return file[len(str(folder)) :].lstrip(os.sep).replace(os.sep, "/")
