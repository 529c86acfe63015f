"""Registration with the Auto classes and pipelines of transformers: when they are imported, or first asked.

`import u2net_hf` must make `AutoModel`, `AutoImageProcessor` and `pipeline` know the networks, but must not import
transformers for it: that takes seconds, and the command and the lean engines never need it. So each part registers
itself when transformers imports the table that it belongs to.

The models are registered later still, when the table of configurations is first asked for one of ours. A model's code
imports `transformers.modeling_layers`, which in the middle of its own import imports the table of models: there it is
too early. So that table of configurations gets names, which it looks up as those of the networks in transformers
itself: in a module `transformers.models.<model type>`. That module is this package, whose names are as lazy. A model
type that transformers has itself is left alone.

A transformers that is too old gets nothing but a warning. One whose tables are elsewhere is imported at once, and all
is registered by its public functions.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .models.families import FAMILIES, Family

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

OLDEST = (5, 23)
PIPELINE = f"{__package__}.models.u2net.pipeline_u2net"
CONFIGURATIONS = "transformers.models.auto.configuration_auto"
IMAGE_PROCESSORS = "transformers.models.auto.image_processing_auto"
PIPELINES = "transformers.pipelines"
# Where each table is expected.
TABLES = {
    "models/auto/configuration_auto.py": "CONFIG_MAPPING_NAMES",
    "models/auto/image_processing_auto.py": "class AutoImageProcessor",
    "pipelines/__init__.py": "PIPELINE_REGISTRY",
}


def register_when_needed() -> None:
    """Register each part now if its table is there already, else as soon as it is."""
    folder = _transformers_folder()
    if folder is None:
        return
    if too_old := _too_old(folder):
        _call_after_import({CONFIGURATIONS: partial(_say, too_old)})
    elif moved := [file for file, name in TABLES.items() if name not in _read(folder / file)]:
        _say(
            f"this transformers has no {TABLES[moved[0]]} in {moved[0]}, where u2net_hf looks for it: it is imported "
            "at once, which takes some seconds"
        )
        register_models()
        register_image_processors()
        register_pipeline()
    else:
        # The pipeline's code imports transformers' pipelines, and may be imported by them or before them.
        _call_after_import(
            {
                CONFIGURATIONS: announce_configurations,
                IMAGE_PROCESSORS: register_image_processors,
                PIPELINES: partial(import_module, PIPELINE),
            },
            {PIPELINE: register_pipeline},
        )


def _transformers_folder() -> Path | None:
    """Where transformers is, if it is installed."""
    try:
        spec = find_spec("transformers")
    except ValueError:  # somebody's stand-in
        return None
    return Path(spec.origin).parent if spec and spec.origin else None


def _too_old(folder: Path) -> str | None:
    """What to tell the user of a transformers that is too old."""
    found = re.search(r"^__version__ = \"((\d+)\.(\d+)[^\"]*)\"", _read(folder / "__init__.py"), re.MULTILINE)
    if found is None or (int(found[2]), int(found[3])) >= OLDEST:
        return None
    oldest = ".".join(map(str, OLDEST))
    return (
        f"u2net_hf needs transformers {oldest} or newer for its models, which this transformers {found[1]} will not "
        "know: pip install --upgrade transformers"
    )


def _say(message: str) -> None:
    import logging

    logging.getLogger(__package__).warning(message)  # a line on standard error, unless the user wants it otherwise


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""


def _call_after_import(
    tables: Mapping[str, Callable[[], Any]], others: Mapping[str, Callable[[], Any]] | None = None
) -> None:
    """Call a function after the import of each module, at once if that of a table is over."""
    sys.meta_path.insert(0, _AfterImport({**tables, **(others or {})}))
    for table, function in tables.items():
        if table in sys.modules:
            function()


def announce_configurations() -> None:
    """Make `AutoConfig` look for our configurations, the first of which brings [`register_models`] about."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    for family in FAMILIES.values():
        if family.model_type in CONFIG_MAPPING_NAMES:
            _say(
                f"transformers has a network {family.model_type!r} of its own, which its Auto classes go on to load: "
                f"use u2net_hf.{family.model}.from_pretrained for this package's"
            )
        else:
            sys.modules[_announced(family)] = sys.modules[__package__]
            CONFIG_MAPPING_NAMES[family.model_type] = family.config


def _announced(family: Family) -> str:
    return f"transformers.models.{family.model_type}"


def register_models() -> None:
    """Register configurations and models. It can be done twice.

    Raises:
        ImportError: If transformers is too old.
    """
    folder = _transformers_folder()
    if folder is not None and (too_old := _too_old(folder)):
        raise ImportError(too_old)
    from transformers import (
        CONFIG_MAPPING,
        AutoConfig,
        AutoModel,
        AutoModelForImageSegmentation,
        AutoModelForSemanticSegmentation,
    )

    for family in FAMILIES.values():
        config, model = family.config_class, family.model_class
        ours = sys.modules.get(_announced(family)) is sys.modules[__package__]
        if ours or family.model_type not in CONFIG_MAPPING:
            AutoConfig.register(config.model_type, config, exist_ok=True)
        # Both segmentation tasks: the library is about to drop the mapping of AutoModelForImageSegmentation.
        for auto_model in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
            auto_model.register(config, model, exist_ok=True)


def register_image_processors() -> None:
    """Make `AutoImageProcessor` know the image processors, those on torchvision only where it is installed."""
    from transformers import AutoImageProcessor
    from transformers.utils import is_torchvision_available

    for family in FAMILIES.values():
        classes = {"pil": family.image_processor_class("pil")}
        if is_torchvision_available():
            classes["torchvision"] = family.image_processor_class("torchvision")
        AutoImageProcessor.register(family.config_class, image_processor_classes=classes, exist_ok=True)


def register_pipeline() -> None:
    """Make `pipeline` know the task "background-removal"."""
    from transformers import AutoModelForImageSegmentation
    from transformers.pipelines import PIPELINE_REGISTRY

    from .models.u2net.pipeline_u2net import BackgroundRemovalPipeline

    task = "background-removal"
    PIPELINE_REGISTRY.register_pipeline(
        task, pipeline_class=BackgroundRemovalPipeline, pt_model=AutoModelForImageSegmentation, type="image"
    )
    # Not among the arguments above: a saved pipeline would name a folder of this machine.
    PIPELINE_REGISTRY.supported_tasks[task] = {**PIPELINE_REGISTRY.supported_tasks[task], "default": _DefaultModel()}


class _DefaultModel(dict[str, Any]):
    """What `pipeline` takes where no model is named: U²-Net†, pulled when it is asked for."""

    def __init__(self) -> None:
        super().__init__(model="u2netp")

    def __getitem__(self, key: str) -> Any:
        from .weights.published import pull

        return str(pull(super().__getitem__(key))), "main"  # a folder has no other revision


class _AfterImport:
    """A finder that calls a function after the import of a module, which is otherwise found and loaded as ever."""

    def __init__(self, callbacks: Mapping[str, Callable[[], Any]]) -> None:
        self.callbacks = callbacks

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self.callbacks:
            return None
        finders = [finder for finder in sys.meta_path if finder is not self]
        found = (finder.find_spec(fullname, path, target) for finder in finders)
        spec = next(filter(None, found), None)
        if spec is not None and spec.loader is not None:
            spec.loader = cast("Loader", _LoaderThenCallback(spec.loader, self.callbacks[fullname]))
        return spec


class _LoaderThenCallback:
    """The loader of a module, and what is called then. (To import the base class of loaders would cost time.)"""

    def __init__(self, loader: Loader, callback: Callable[[], Any]) -> None:
        self.loader, self.callback = loader, callback

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self.loader
        if module.__spec__ is not None:
            module.__spec__.loader = self.loader
        self.loader.exec_module(module)
        self.callback()
