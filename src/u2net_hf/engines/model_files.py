"""The files of a model, found or fetched without transformers."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import safe_open

from ..models.families import FAMILIES
from ..models.u2net.pixels_u2net import InputOptions
from ..weights.loading import reading
from ..weights.published import resolve

WEIGHTS, CONFIG, PROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
NEEDED = {"num_channels", "out_channels", "encoder_stages", "decoder_stages", "use_batch_norm"}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True)
class ModelFiles:
    """A folder with a model, and what it was called."""

    name: str
    folder: Path

    @property
    def weights(self) -> Path:
        """The weights in one SafeTensors file; a folder may hold other kinds instead."""
        return self.folder / WEIGHTS

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of `config.json`."""
        return self._read(CONFIG)

    @cached_property
    def input_options(self) -> InputOptions:
        """How images become the network's input."""
        options = self._read(PROCESSOR)
        try:
            return InputOptions.from_dict(options)
        except ValueError as error:
            raise ValueError(f"{self.folder / PROCESSOR}: {error}") from error

    @property
    def has_fused_form(self) -> bool:
        """Whether the network is one that the engines run from its files alone, in a form of their own."""
        family = FAMILIES.get(str(self.config.get("model_type")))
        return family is not None and family.has_fused_form

    @property
    def numbers_objects(self) -> bool:
        """Whether it is a U-Net whose labels are levels of depth: it tells objects apart, and cuts none out."""
        return self.config.get("model_type") == "unet" and self._read(PROCESSOR).get("instances") is not None

    @property
    def is_complete(self) -> bool:
        """Whether `config` and `weights` are all that the network is made of: nothing is left to defaults."""
        return self.weights.is_file() and self.config.keys() >= NEEDED

    @cached_property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each tensor in `weights`, without reading their values."""
        with reading(self.weights), safe_open(self.weights, "numpy") as content:
            return {name: tuple(content.get_slice(name).get_shape()) for name in content.keys()}  # noqa: SIM118

    @property
    def num_parameters(self) -> int | None:
        """Parameters of the network, which BatchNorm's running statistics are not; `None` without `weights`."""
        if not self.weights.is_file():
            return None
        return sum(math.prod(shape) for name, shape in self.weight_shapes.items() if not name.endswith(STATISTICS))

    def _read(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.name} has no {name}: save the model and its image processor there"
            ) from None
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is not JSON ({error})") from error
        if not isinstance(content, dict):
            raise ValueError(f"{path} must hold a JSON object")
        return content


def find_model(name_or_path: str | Path) -> ModelFiles:
    """Find the files of a model, and fetch them if it is a published name or a Hub id.

    Args:
        name_or_path: As in [`u2net_hf.weights.published.resolve`].

    Raises:
        OSError: If it cannot be fetched.
        ValueError: If there is no such model.
    """
    name = str(name_or_path)
    source = resolve(name)
    folder = Path(source)
    return ModelFiles(name, folder if (folder / CONFIG).is_file() else _fetch(source))


def _fetch(repo_id: str) -> Path:
    """Fetch the small files and the weights of a repository on the Hub, or find them in its cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        return Path(snapshot_download(repo_id, allow_patterns=[CONFIG, PROCESSOR, WEIGHTS]))
    except GatedRepoError as error:
        raise OSError(f"{repo_id}: its owner must grant access first; see https://huggingface.co/{repo_id}") from error
    except RepositoryNotFoundError as error:
        raise OSError(f"There is no model {repo_id} on the Hub, or it is private: check `hf auth login`.") from error
    except Exception as error:  # the HTTP client has errors of its own for connections that break
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(f"{repo_id} could not be fetched from the Hub: {reason}") from error
