"""Train U-Net on cells, membranes or anything else with a background and a foreground.

The network and the recipe of the paper, on the 30 electron microscopy images of ISBI 2012 (images/, masks/):

    u2net-hf train-unet --dataset_name isbi2012 --train_split "train[:24]" --validation_split "train[24:]" \\
        --max_train_steps 20000 --output_dir unet-isbi

The modern form (padded convolutions, BatchNorm), on smaller tiles:

    u2net-hf train-unet --dataset_name isbi2012 --train_split "train[:24]" --validation_split "train[24:]" \\
        --config modern --resolution 256 --per_device_train_batch_size 4 --momentum 0.9 --learning_rate 1e-2 \\
        --max_train_steps 5000 --output_dir unet-modern

Nuclei that touch, from label maps (images/, instances/), under any microscope, to be told apart:

    accelerate launch --mixed_precision bf16 -m u2net_hf.cli.train_unet --dataset_name dsb2018 --label_maps \\
        --config modern --hidden_sizes 32 48 80 128 192 --upsampling bilinear --percentiles 1 99.8 --resolution 256 \\
        --per_device_train_batch_size 16 --optimizer adamw --learning_rate 2e-3 --weight_decay 1e-2 --elastic_std 4 \\
        --lr_scheduler_type cosine --num_warmup_steps 200 --max_train_steps 20000 --ema_decay 0.998 --gap_weight 5 \\
        --gap_width 3 --max_grad_norm 1 --channels_last --dataloader_num_workers 8 --output_dir nuclei

One GPU; four GPUs; two nodes of eight (on each node, with its rank); two processes on the CPU:

    accelerate launch --mixed_precision bf16 -m u2net_hf.cli.train_unet ... --channels_last
    accelerate launch --multi_gpu --num_processes 4 -m u2net_hf.cli.train_unet ...
    accelerate launch --multi_gpu --num_machines 2 --num_processes 16 --machine_rank 0 \\
        --main_process_ip 10.0.0.1 --main_process_port 29500 -m u2net_hf.cli.train_unet ...
    torchrun --standalone --nproc_per_node 2 -m u2net_hf.cli.train_unet ...

Masks have two values, the lighter one where cells are, or --object_values says which; the weight map makes the
narrow gaps between them count. Validation predicts whole images by overlap-tile. With --resume_from_checkpoint latest
the same line starts a training, and goes on with it after any interruption. SIGTERM and Ctrl-C save the state and exit
with status 143; errors exit with 1.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from accelerate.utils import set_seed

from ..data.corpora import check_label_maps, load_corpus
from ..data.recipes import cells_recipe, unet_recipe
from ..models.families import FAMILIES
from ..training.arguments import TrainingArguments, option, run_script
from ..training.loader import InstanceRecords, MakeInstanceSample, MakeSegmentationSample
from ..training.loop import Training
from ..training.validation import InstanceValidation, SegmentationValidation
from ..weights.loading import load_whole_model
from ..weights.published import resolve

CONFIG, MODEL, PROCESSOR = FAMILIES["unet"].classes
CONFIGS: dict[str, Any] = {"original": CONFIG.original, "modern": CONFIG}


@dataclass
class UNetArguments(TrainingArguments):
    """The recipe of the paper: one tile of 572x572 a step, SGD with a momentum of 0.99, weight map, deformation.

    The paper gives no learning rate; the loss here is a mean over the pixels, where the paper's is a sum.
    """

    config: Literal["original", "modern"] = option(
        "original", "Network from scratch: the paper's, or padded with BatchNorm."
    )
    hidden_sizes: list[int] = field(
        default_factory=lambda: [64, 128, 256, 512, 1024], metadata={"help": "Channels of each scale, from the top."}
    )
    upsampling: Literal["transpose", "bilinear"] = option("transpose", "Upsampling of the network.")
    num_channels: int = option(1, "Channels of the images: 1 makes them gray, 3 RGB.")
    resolution: int = option(572, "Side of the tiles, the network's inputs, in pixels.")
    tile_size: int | None = option(
        None,
        "Side of the tiles into which whole images are cut in validation and by the saved image processor. Default: "
        "the resolution for the paper's network, none for padded ones.",
    )
    percentiles: list[float] | None = option(
        None, "Two percentiles of an image, such as 1 99.8, that become black and white. Default: none."
    )
    label_maps: bool = option(
        False,
        "The masks number their objects (a folder instances/), which may touch: learn to tell them apart. Validation "
        "is by average precision then, and the recipe one for any stain and exposure.",
    )
    num_levels: int = option(4, "With label maps: levels of depth, from the rim of an object to its core.")
    rim: float = option(0.0, "With label maps: width of the first level in pixels; 0 for an equal share of the depth.")
    average_rotations: bool = option(False, "With label maps: average eight rotations and mirrorings in validation.")
    gap_weight: float = option(
        10.0,
        "Weight of the gaps between cells in the loss (w0), with label maps of the pixels between them; 0 for none.",
    )
    gap_width: float = option(5.0, "Width of those gaps in pixels (sigma).")
    elastic_std: float = option(10.0, "Elastic deformation: standard deviation in pixels; 0 for none.")
    rotation: float = option(180.0, "Largest rotation in degrees.")
    optimizer: Literal["sgd", "adamw"] = option("sgd", "SGD with momentum as in the paper, or AdamW.")
    per_device_train_batch_size: int = option(1, "Tiles per process in each pass.")
    per_device_eval_batch_size: int = option(1, "Tiles of an image at a time in validation.")
    momentum: float = option(0.99, "SGD's momentum.")


def main(arguments: UNetArguments) -> None:
    """Load the corpora, and train."""
    load = partial(load_corpus, object_values=arguments.object_values, label_maps=arguments.label_maps)
    corpus = load(arguments.dataset_name, arguments.train_split, arguments.streaming)
    if arguments.label_maps and not arguments.streaming:
        check_label_maps(corpus, arguments.dataset_name)
    validation_name = arguments.validation_dataset_name or arguments.dataset_name
    train(arguments, corpus, load(validation_name, arguments.validation_split))


def train(arguments: UNetArguments, corpus: Any, validation_corpus: Any) -> None:
    """Load the network, and train it on a corpus."""
    set_seed(arguments.seed)
    model = load_network(arguments)
    network: Any = model.config
    tile_size = arguments.tile_size or (arguments.resolution if network.padding == "valid" else None)
    image_processor = PROCESSOR.from_config(
        network,
        tile_size=tile_size,
        percentiles=arguments.percentiles,
        instances={} if arguments.label_maps else None,
    )
    eval_options = (image_processor, arguments.per_device_eval_batch_size, arguments.dataloader_num_workers)
    make_sample: Any
    validation: Any
    if arguments.label_maps:
        records = InstanceRecords(
            corpus,
            image_processor,
            network.num_labels - 1,
            arguments.rim,
            arguments.gap_weight,
            arguments.gap_width,
        )
        corpus = records.in_memory(arguments.dataloader_num_workers)
        recipe = cells_recipe(arguments.resolution, rotation=arguments.rotation, elastic_std=arguments.elastic_std)
        make_sample = MakeInstanceSample(image_processor, recipe, arguments.seed)
        validation = InstanceValidation(validation_corpus, *eval_options, arguments.average_rotations)
    else:
        recipe = unet_recipe(arguments.resolution, rotation=arguments.rotation, elastic_std=arguments.elastic_std)
        make_sample = MakeSegmentationSample(
            image_processor, recipe, arguments.seed, arguments.gap_weight, arguments.gap_width
        )
        validation = SegmentationValidation(validation_corpus, *eval_options)
    optimizer = make_optimizer(arguments, model)
    Training(arguments, model, image_processor, optimizer, corpus, make_sample, validation).run()


def load_network(arguments: UNetArguments) -> Any:
    """The network to go on with, or a new one."""
    if arguments.model_name_or_path:
        folder = resolve(arguments.model_name_or_path)
        return load_whole_model(MODEL, folder, dtype=torch.float32)
    names = ("hidden_sizes", "num_channels", "upsampling")
    options: dict[str, Any] = {name: getattr(arguments, name) for name in names}
    if arguments.label_maps:
        levels = (f"depth {level}/{arguments.num_levels}" for level in range(1, arguments.num_levels + 1))
        options["id2label"] = dict(enumerate(("background", *levels)))
        options["label2id"] = {name: number for number, name in options["id2label"].items()}
    return MODEL(CONFIGS[arguments.config](**options))


def make_optimizer(arguments: UNetArguments, model: torch.nn.Module) -> torch.optim.Optimizer:
    """SGD or AdamW over all weights."""
    options: dict[str, Any] = {"lr": arguments.learning_rate, "weight_decay": arguments.weight_decay}
    if arguments.optimizer == "adamw":
        return torch.optim.AdamW(model.parameters(), fused=torch.cuda.is_available(), **options)
    return torch.optim.SGD(model.parameters(), momentum=arguments.momentum, **options)


run = partial(run_script, main, UNetArguments, __doc__)  # with the arguments of the command line

if __name__ == "__main__":
    run()
