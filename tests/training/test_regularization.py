"""Tests of u2net_hf.training.regularization: general photos are learnt from the start's maps."""

import copy

import numpy as np
import pytest
import torch
from tiny_models import tiny_u2net_config
from torch.nn import functional as F
from training_helpers import drawn_corpus

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.data.recipes import authors_recipe
from u2net_hf.training.loader import MakeSaliencySample, Mixture
from u2net_hf.training.regularization import GeneralPhotos, MakeMarkedSample, SelfDistillation


@pytest.fixture
def networks() -> tuple[U2NetForImageSegmentation, U2NetForImageSegmentation]:
    torch.manual_seed(0)
    models = [U2NetForImageSegmentation(tiny_u2net_config(use_batch_norm=False)) for _ in range(2)]
    return models[0], models[1]


def test_the_loss_of_a_general_photo_is_the_cross_entropy_with_the_starts_map(networks: tuple) -> None:
    model, start = networks
    pixels, masks = torch.rand(3, 3, 32, 32), (torch.rand(3, 32, 32) > 0.5).float()
    is_general = torch.tensor([False, True, False])
    with torch.no_grad():
        wanted = masks.clone()
        wanted[1] = start(pixels[1:2]).logits.sigmoid()[0, 0]
        outputs = model(pixels, output_side_logits=True)
        maps = [outputs.logits, *outputs.side_logits]
        by_hand = sum(F.binary_cross_entropy_with_logits(one.double()[:, 0], wanted.double()) for one in maps)
    found = SelfDistillation(model, start)(pixels, masks.clone(), is_general).loss
    assert found.item() == pytest.approx(float(by_hand), rel=1e-5)


def test_at_its_start_the_fused_map_is_drawn_nowhere_and_the_start_stays(networks: tuple) -> None:
    model, _ = networks
    start = copy.deepcopy(model)
    module = SelfDistillation(model, start).train()
    assert not start.training
    assert model.training
    labels = torch.zeros(2, 32, 32)
    pixels = torch.rand(2, 3, 32, 32)
    module(pixels, labels, torch.tensor([True, True]))
    logits = model(pixels).logits
    F.binary_cross_entropy_with_logits(logits[:, 0], labels).backward()
    assert max(float(one.grad.abs().max()) for one in model.parameters() if one.grad is not None) < 1e-6
    assert not any(parameter.requires_grad for parameter in start.parameters())


def test_marked_samples_tell_general_photos_from_others() -> None:
    photos = drawn_corpus(2).remove_columns("mask")
    corpus = Mixture([drawn_corpus(2), GeneralPhotos(photos)], [1, 1])
    processor = U2NetImageProcessorPil(size={"height": 20, "width": 20})
    make = MakeMarkedSample(MakeSaliencySample(processor, authors_recipe(20), 0))
    samples = [make(part[0], 0, 0) for part in corpus.corpora]
    assert [bool(sample["is_general"]) for sample in samples] == [False, True]
    assert np.asarray(samples[0]["labels"]).any()
    assert samples[1]["labels"].shape == samples[0]["labels"].shape


def test_networks_of_classes_are_refused() -> None:
    classes = U2NetForImageSegmentation(tiny_u2net_config(out_channels=3))
    with pytest.raises(ValueError, match="one class"):
        SelfDistillation(classes, classes)
