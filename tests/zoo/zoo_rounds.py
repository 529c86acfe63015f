"""The rounds through the zoo: each is a verb, or a form of it."""

from collections.abc import Callable

from zoo_keeper import Zoo
from zoo_networks import models_in_export, models_in_push, models_in_remove
from zoo_remove import remove_each, remove_folders, remove_streams, remove_watched
from zoo_scripts import (
    corpora_in_cell_evaluation,
    corpora_in_evaluation,
    corpora_in_predict,
    corpora_in_prepare,
    corpora_in_training,
    exports_in_remove,
    models_in_training,
    names_in_pull,
    others_in_push,
    pictures_in_demo,
    weights_in_convert,
)
from zoo_segment import models_in_segment, segment_each
from zoo_serving import pictures_in_serve
from zoo_videos import remove_videos

ROUNDS: tuple[Callable[[Zoo], None], ...] = (
    remove_each,
    remove_streams,
    remove_folders,
    remove_watched,
    remove_videos,
    exports_in_remove,
    models_in_remove,
    segment_each,
    models_in_segment,
    models_in_export,
    models_in_push,
    models_in_training,
    weights_in_convert,
    names_in_pull,
    others_in_push,
    pictures_in_demo,
    pictures_in_serve,
    corpora_in_prepare,
    corpora_in_evaluation,
    corpora_in_cell_evaluation,
    corpora_in_predict,
    corpora_in_training,
)
