"""Registration with the Auto classes and pipelines of transformers: when they are imported, or first asked.

`import u2net_hf` must make `AutoModel`, `AutoImageProcessor` and `pipeline` know both networks, but must not import
transformers for it: that takes seconds, and the command and the lean engines never need it. So each part registers
itself when transformers imports the table that it belongs to.

The models are registered later still, when the table of configurations is first asked for one of ours. A model's code
imports `transformers.modeling_layers`, which in the middle of its own import imports the table of models: there it is
too early. So that table of configurations gets names, which it looks up as those of the networks in transformers
itself: in a module `transformers.models.<model type>`. That module is this package, whose names are as lazy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from types import ModuleType

CONFIGURATIONS = {"u2net": "U2NetConfig", "unet": "UNetConfig"}
PIPELINE = f"{__package__}.models.u2net.pipeline_u2net"


def register_when_needed() -> None:
    """Register each part now if its table is there already, else as soon as it is."""
    tables: dict[str, Callable[[], Any]] = {
        "transformers.models.auto.configuration_auto": announce_configurations,
        "transformers.models.auto.image_processing_auto": register_image_processors,
        "transformers.pipelines": partial(import_module, PIPELINE),
    }
    # The pipeline's code imports transformers' pipelines, and may be imported by them or before them.
    sys.meta_path.insert(0, _AfterImport({**tables, PIPELINE: register_pipeline}))
    for table, register in tables.items():
        if table in sys.modules:
            register()


def announce_configurations() -> None:
    """Make `AutoConfig` look for our configurations, the first of which brings [`register_models`] about."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    for model_type, name in CONFIGURATIONS.items():
        sys.modules[f"transformers.models.{model_type}"] = sys.modules[__package__]
        CONFIG_MAPPING_NAMES[model_type] = name


def register_models() -> None:
    """Register configurations and models. It can be done twice.

    `exist_ok=True` everywhere: a later transformers with a "unet" of its own must not break the import.
    """
    from transformers import AutoConfig, AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation
    from transformers.models.auto import modeling_auto

    from .models.u2net.configuration_u2net import U2NetConfig
    from .models.u2net.modeling_u2net import U2NetForImageSegmentation
    from .models.unet.configuration_unet import UNetConfig
    from .models.unet.modeling_unet import UNetForSemanticSegmentation

    for config, model in ((U2NetConfig, U2NetForImageSegmentation), (UNetConfig, UNetForSemanticSegmentation)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        # Both segmentation tasks: the library is about to drop the mapping of AutoModelForImageSegmentation.
        for auto_model in (AutoModel, AutoModelForImageSegmentation, AutoModelForSemanticSegmentation):
            auto_model.register(config, model, exist_ok=True)
        # The image-segmentation pipeline looks its models up in this table of names, which `register` does not fill,
        # and logs an error for a model that is not in it.
        modeling_auto.MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES.setdefault(config.model_type, model.__name__)


def register_image_processors() -> None:
    """Make `AutoImageProcessor` know the image processors, those on torchvision only where it is installed."""
    from transformers.models.auto.image_processing_auto import AutoImageProcessor
    from transformers.utils import is_torchvision_available

    from .models.u2net.configuration_u2net import U2NetConfig
    from .models.u2net.image_processing_u2net import U2NetImageProcessor, U2NetImageProcessorPil
    from .models.unet.configuration_unet import UNetConfig
    from .models.unet.image_processing_unet import UNetImageProcessor, UNetImageProcessorPil

    for config, pil, torchvision in (
        (U2NetConfig, U2NetImageProcessorPil, U2NetImageProcessor),
        (UNetConfig, UNetImageProcessorPil, UNetImageProcessor),
    ):
        classes: dict[str, type] = {"pil": pil, **({"torchvision": torchvision} if is_torchvision_available() else {})}
        AutoImageProcessor.register(config, image_processor_classes=classes, exist_ok=True)


def register_pipeline() -> None:
    """Make `pipeline` know the task "background-removal"."""
    from transformers.models.auto.modeling_auto import AutoModelForImageSegmentation
    from transformers.pipelines import PIPELINE_REGISTRY

    from .models.u2net.pipeline_u2net import BackgroundRemovalPipeline

    PIPELINE_REGISTRY.register_pipeline(
        "background-removal",
        pipeline_class=BackgroundRemovalPipeline,
        pt_model=AutoModelForImageSegmentation,
        type="image",
    )


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
