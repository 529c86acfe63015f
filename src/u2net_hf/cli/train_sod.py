"""Train U²-Net for salient object detection or background removal: from scratch, or from published weights.

From scratch, with the paper's recipe (600,000 steps of 12; the small U²-Net† here):

    u2net-hf train-sod --dataset_name nobg/DUTS --validation_split test --config u2netp \\
        --max_train_steps 600000 --output_dir u2netp-duts

On your own masks (a folder with images/ and masks/), from the published weights:

    u2net-hf train-sod --dataset_name photos --train_split "train[:90%]" --validation_split "train[90%:]" \\
        --model_name_or_path u2netp --iou_loss_weight 1 --learning_rate 5e-5 --max_train_steps 2000 --output_dir mine

Several classes, from masks whose gray values or palette indices are 0 (background), 1, 2 (255 = ignored):

    u2net-hf train-sod --dataset_name parts --num_labels 3 --model_name_or_path u2netp --output_dir parts-net

IS-Net for fine structure, at 1024x1024 with the supervision of its paper: first the GT encoder, then the network:

    u2net-hf train-sod --dataset_name DIS5K --config isnet --gt_encoder train --output_dir gt-encoder ...
    u2net-hf train-sod --dataset_name DIS5K --config isnet --gt_encoder gt-encoder --output_dir isnet \\
        --per_device_train_batch_size 8 ...

A student of stronger networks, from their soft maps of photos without masks; and fine-tuning on cats that stays near
the published network on other photos:

    u2net-hf predict photos/ maps/ -m u2net -m isnet --image
    u2net-hf train-sod --dataset_name maps --mask_column map --model_name_or_path u2netp ...
    u2net-hf train-sod --dataset_name cats --model_name_or_path u2netp --regularize_with u2netp \\
        --general_dataset photos ...

One GPU; four GPUs; two nodes of eight (on each node, with its rank); two processes on the CPU:

    accelerate launch --mixed_precision bf16 -m u2net_hf.cli.train_sod ... --channels_last
    accelerate launch --multi_gpu --num_processes 4 -m u2net_hf.cli.train_sod ... --sync_batchnorm
    accelerate launch --multi_gpu --num_machines 2 --num_processes 16 --machine_rank 0 \\
        --main_process_ip 10.0.0.1 --main_process_port 29500 -m u2net_hf.cli.train_sod ...
    torchrun --standalone --nproc_per_node 2 -m u2net_hf.cli.train_sod ...

With --resume_from_checkpoint latest the same line starts a training, and goes on with it after any interruption.
SIGTERM and Ctrl-C save the state and exit with status 143; errors exit with 1.
"""

from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, Literal

import torch
from accelerate.utils import set_seed
from transformers import AutoImageProcessor

from ..data.corpora import load_corpus
from ..data.photos import load_photo_table
from ..data.recipes import authors_recipe, strong_recipe
from ..engines.torch_engine import check_makes_maps, usable_device
from ..models.families import FAMILIES
from ..training.arguments import TrainingArguments, option, run_script
from ..training.loader import MakeSaliencySample, Mixture, Share, make_loader
from ..training.loop import Training
from ..training.mask_encoder import (
    FeatureSupervision,
    MakeMaskSample,
    MaskEncoder,
    MasksAsImages,
    load_mask_encoder,
)
from ..training.regularization import GeneralPhotos, MakeMarkedSample, SelfDistillation
from ..training.validation import ClassValidation, SaliencyValidation
from ..weights.convert import restore_batch_norm
from ..weights.loading import load_pretrained, load_whole_model
from ..weights.published import ISNET_INPUT, resolve

CONFIG, MODEL, PROCESSOR = FAMILIES["u2net"].classes
CONFIGS: dict[str, Any] = {
    "u2net": CONFIG,
    "u2netp": CONFIG.small,
    "isnet": CONFIG.isnet,
    "isnet_small": partial(CONFIG.small, stem_channels=64, fuse_side_maps=False),
}
TRAIN = "train"
# A mask's gray values / 255, as its encoder takes them.
MASK_INPUT: dict[str, Any] = {"do_antialias": False, "do_scale_by_max": False, "do_normalize": False}
RECIPES = {"authors": authors_recipe, "strong": strong_recipe}
# Batches on which the BatchNorm statistics of published weights are measured.
BATCH_NORM_BATCHES = 8


@dataclass
class SODArguments(TrainingArguments):
    """The recipe of the paper and the released code: Adam, a constant rate of 1e-3, batches of 12."""

    # Given twice or with several names, there are several corpora.
    dataset_name: list[str] = field(  # type: ignore[assignment]
        metadata={
            "help": "Corpus: a folder, a .parquet file or a data set on the Hub. Several are mixed.",
            "action": "extend",
        }
    )
    dataset_weight: list[float] | None = option(
        None, "How often samples of each corpus are drawn. Default: as their sizes are.", action="extend"
    )
    mask_column: list[str] | None = option(
        None,
        "The column of soft maps to learn from, as `u2net-hf predict` writes them (map), for all corpora or one for "
        "each; auto for masks as usual.",
        action="extend",
    )
    validation_mask_column: str | None = option(
        None,
        "The column of soft maps to validate on, object above half. Default: as of the first corpus, if it is it.",
    )
    regularize_with: str | None = option(
        None,
        "Keep the network near this one's maps (usually that of --model_name_or_path) on the photos of "
        "--general_dataset: it forgets less.",
    )
    general_dataset: str | None = option(None, "Photos for --regularize_with; they need no masks.")
    general_split: str | None = option(None, "Their split, if there are several.")
    general_weight: float = option(1.0, "How often those are drawn, for each sample of the corpora.")
    config: Literal["u2net", "u2netp", "isnet", "isnet_small"] = option(
        "u2net", "Network from scratch: U²-Net, the small U²-Net†, IS-Net, or IS-Net with the stages of U²-Net†."
    )
    gt_encoder: str | None = option(
        None,
        "Feature supervision of an IS-Net. train: train its GT encoder, which rebuilds masks, instead of the network; "
        "a folder made so: draw the network's features to those of that encoder.",
    )
    resolution: int | None = option(
        None,
        "Side of the network's inputs in pixels. Default: as the weights are used; from scratch 320, of IS-Net 1024.",
    )
    recipe: Literal["authors", "strong"] = option(
        "authors",
        "Transforms. authors: resize to the resolution, crop nine tenths, flip. strong: also scale, rotation, color, "
        "blur, JPEG.",
    )
    restore_batch_norm: bool = option(
        True,
        "Give published weights, whose BatchNorms are folded into the convolutions, live ones again; "
        "--no_restore_batch_norm trains them folded, which suits small batches and short trainings.",
    )
    num_labels: int | None = option(
        None,
        "Classes of masks that hold classes 0, 1, ... (at least 2). Default: one object, two-valued or soft masks.",
    )
    iou_loss_weight: float | None = option(
        None,
        "Weight of a soft IoU loss beside the paper's cross entropy; 1 keeps the maps of published weights crisp in "
        "short trainings. Default: the weights' own, or 0.",
    )
    per_device_train_batch_size: int = option(12, "Photos per process in each pass.")
    learning_rate: float = option(1e-3, "Learning rate after the warm-up; 5e-5 suits published weights.")
    adam_beta1: float = option(0.9, "Adam's beta1.")
    adam_beta2: float = option(0.999, "Adam's beta2.")
    adam_epsilon: float = option(1e-8, "Adam's epsilon.")

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            ValueError: If an option is out of its range; the message names it.
        """
        super().__post_init__()
        if self.num_labels is not None and self.num_labels < 2:
            raise ValueError(f"--num_labels must be at least 2, got {self.num_labels}; leave it out for one object.")
        if self.num_labels is not None and self.object_values:
            raise ValueError(
                "--object_values are for one object, --num_labels for masks of classes: give one of them."
            )
        if (self.regularize_with is None) != (self.general_dataset is None):
            raise ValueError("--regularize_with and --general_dataset belong together: give both.")
        if self.regularize_with and (self.gt_encoder or self.num_labels or self.streaming):
            raise ValueError("--regularize_with goes without --gt_encoder, --num_labels and --streaming.")
        if self.dataset_weight and len(self.dataset_name) == 1:
            raise ValueError("--dataset_weight mixes several corpora: --dataset_name names one corpus.")
        if self.streaming and len(self.dataset_name) > 1:
            raise ValueError("--streaming takes one corpus: --dataset_name names several.")


def main(arguments: SODArguments) -> None:
    """Load the corpora and the network, and train."""
    set_seed(arguments.seed)
    corpus, validation_corpus = load_corpora(arguments)

    image_processor = load_image_processor(arguments)
    arguments.resolution = image_processor.size["height"]
    recipe = RECIPES[arguments.recipe](arguments.resolution)
    make_sample: Any = MakeSaliencySample(image_processor, recipe, arguments.seed)
    model: Any = load_network(arguments, corpus, make_sample)
    supervision: Any = None
    if arguments.regularize_with:
        corpus, make_sample = with_general_photos(corpus, arguments), MakeMarkedSample(make_sample)
        start: Any = load_whole_model(MODEL, resolve(arguments.regularize_with))
        supervision = SelfDistillation(model, start)
    if arguments.gt_encoder == TRAIN:
        model, make_sample = MaskEncoder(model.config), MakeMaskSample(make_sample)
        image_processor = PROCESSOR(size=dict(image_processor.size), **MASK_INPUT)
        validation_corpus = MasksAsImages(validation_corpus)
    elif arguments.gt_encoder:
        supervision = FeatureSupervision(model, load_mask_encoder(arguments.gt_encoder))

    optimizer = torch.optim.Adam(
        model.parameters(),
        lr=arguments.learning_rate,
        betas=(arguments.adam_beta1, arguments.adam_beta2),
        eps=arguments.adam_epsilon,
        weight_decay=arguments.weight_decay,
        fused=True,
    )
    validation = (ClassValidation if arguments.num_labels else SaliencyValidation)(
        validation_corpus, image_processor, arguments.per_device_eval_batch_size, arguments.dataloader_num_workers
    )
    Training(arguments, model, image_processor, optimizer, corpus, make_sample, validation, supervision).run()


def load_corpora(arguments: SODArguments) -> tuple[Any, Any]:
    """What to train on, and what to validate on."""
    load = partial(load_corpus, object_values=arguments.object_values, class_labels=bool(arguments.num_labels))
    names, columns = arguments.dataset_name, arguments.mask_column or ["auto"]
    if len(columns) not in (1, len(names)):
        raise ValueError(f"--mask_column names {len(columns)} columns for {len(names)} corpora: one, or one for each.")
    columns = columns * (len(names) if len(columns) == 1 else 1)
    chosen = [None if column == "auto" else column for column in columns]
    parts = [
        load(name, arguments.train_split, arguments.streaming, mask_column=column)
        for name, column in zip(names, chosen, strict=True)
    ]
    other = arguments.validation_dataset_name
    column = arguments.validation_mask_column or (None if other else chosen[0])
    validation = load(other or names[0], arguments.validation_split, mask_column=column)
    if len(parts) == 1:
        return parts[0], validation
    return Mixture(parts, arguments.dataset_weight or [len(part) for part in parts]), validation


def with_general_photos(corpus: Any, arguments: SODArguments) -> Mixture:
    """The corpora, and the photos on which the network is kept near its start."""
    photos = GeneralPhotos(load_photo_table(arguments.general_dataset or "", arguments.general_split))
    mixture = corpus if isinstance(corpus, Mixture) else Mixture([corpus], [1.0])
    weight = arguments.general_weight * sum(mixture.weights)
    return Mixture([*mixture.corpora, photos], [*mixture.weights, weight])


def load_image_processor(arguments: SODArguments) -> Any:
    """The image processor of the weights to start from, or that which belongs to a new network."""
    side = arguments.resolution
    size: dict[str, Any] = {} if side is None else {"size": {"height": side, "width": side}}
    if arguments.model_name_or_path:
        image_processor = load_pretrained(AutoImageProcessor, resolve(arguments.model_name_or_path), **size)
        check_makes_maps(image_processor, arguments.model_name_or_path)
    else:
        image_processor = PROCESSOR(**(ISNET_INPUT if "isnet" in arguments.config else {}) | size)
    if image_processor.size["height"] != image_processor.size["width"]:
        raise ValueError(f"{arguments.model_name_or_path} takes inputs that are not square: give --resolution.")
    return image_processor


def load_network(arguments: SODArguments, corpus: Any, make_sample: MakeSaliencySample) -> Any:
    """A new network, or a trained one with BatchNorms that can go on learning."""
    weight = arguments.iou_loss_weight
    changes: dict[str, Any] = {} if weight is None else {"iou_loss_weight": weight}
    if not arguments.model_name_or_path:
        return MODEL(CONFIGS[arguments.config](out_channels=arguments.num_labels or 1, **changes))
    folder = resolve(arguments.model_name_or_path)
    config: Any = load_pretrained(CONFIG, folder, **changes)
    if arguments.num_labels and arguments.num_labels != config.out_channels:
        config.out_channels = config.num_labels = arguments.num_labels  # the output convolutions begin anew
    elif config.out_channels > 1 and not arguments.num_labels:
        raise ValueError(f"{folder} tells {config.out_channels} classes apart: give --num_labels.")
    options = {"config": config, "dtype": torch.float32, "ignore_mismatched_sizes": bool(arguments.num_labels)}
    model: Any = load_whole_model(MODEL, folder, **options)
    if model.config.use_batch_norm or not arguments.restore_batch_norm:
        return model
    # Published weights have them folded into the convolutions: measure what training needs on the training images.
    share = Share(first=0, last=BATCH_NORM_BATCHES, batch_size=arguments.per_device_train_batch_size)
    loader = make_loader(corpus, make_sample, share, arguments.seed)
    return restore_batch_norm(model.to(usable_device(None)), islice(loader, BATCH_NORM_BATCHES))


run = partial(run_script, main, SODArguments, __doc__)  # with the arguments of the command line

if __name__ == "__main__":
    run()
