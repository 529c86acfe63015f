"""Both models in the library's own `Trainer`, whose accumulation must change neither the loss nor the gradient."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_u2net_config, tiny_unet_config
from transformers import PreTrainedModel, Trainer, TrainingArguments

from u2net_hf import U2NetForImageSegmentation, UNetForSemanticSegmentation


def u2net() -> PreTrainedModel:
    # Folded BatchNorms: a batch of four and four batches of one give the same maps.
    return U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False))


def unet() -> PreTrainedModel:
    return UNetForSemanticSegmentation(tiny_unet_config(use_batch_norm=False))


def first_step(model: PreTrainedModel, accumulation: int, folder: Path) -> dict[str, Any]:
    """What `Trainer` logs of one step over the same four images."""
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(4, 3, 16, 16, generator=generator), torch.arange(256).reshape(16, 16) % 2
    samples = [{"pixel_values": image, "labels": labels} for image in images]
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=4 // accumulation,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        logging_steps=1,
        max_grad_norm=1e9,  # measured, not clipped
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=samples)
    trainer.train()
    return trainer.state.log_history[0]


@pytest.mark.parametrize("make", [u2net, unet], ids=["u2net", "unet"])
def test_accumulation_changes_neither_loss_nor_gradient(make: Callable[[], PreTrainedModel], tmp_path: Path) -> None:
    model = make()
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    whole = first_step(model, 1, tmp_path)
    model.load_state_dict(weights)
    parts = first_step(model, 4, tmp_path)
    assert parts["loss"] == pytest.approx(whole["loss"], rel=1e-3)
    assert parts["grad_norm"] == pytest.approx(whole["grad_norm"], rel=1e-3)


@pytest.mark.parametrize("make", [u2net, unet], ids=["u2net", "unet"])
def test_misspelled_arguments_are_refused(make: Callable[[], PreTrainedModel]) -> None:
    with pytest.raises(TypeError, match="label"):
        make()(torch.rand(1, 3, 8, 8), label=torch.zeros(1, 8, 8))
