"""IS-Net's feature supervision: the encoder of masks against the paper, the losses against their formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import tiny_u2net_config
from torch import nn
from training_helpers import drawn_corpus, run_in_processes, tiny_training

from u2net_hf import U2NetConfig, U2NetForImageSegmentation
from u2net_hf.training.mask_encoder import FeatureSupervision, MakeMaskSample, MaskEncoder, MasksAsImages

MASKS = (torch.rand(2, 26, 31, generator=torch.Generator().manual_seed(3)) > 0.6).float()
IMAGES = torch.rand(2, 3, 26, 31, generator=torch.Generator().manual_seed(4))


def tiny_isnet() -> U2NetForImageSegmentation:
    torch.manual_seed(0)
    return U2NetForImageSegmentation(tiny_u2net_config(stem_channels=3, fuse_side_maps=False))


def tiny_supervision() -> FeatureSupervision:
    model = tiny_isnet()
    return FeatureSupervision(model, MaskEncoder(model.config))


def record_inputs(module: nn.Module, name: str, found: list[np.ndarray]) -> None:
    """Keep what comes into the side convolutions, the largest first."""
    number = 1
    while hasattr(module, f"{name}{number}"):
        side = getattr(module, f"{name}{number}")
        side.register_forward_pre_hook(lambda side, inputs: found.append(inputs[0].detach().double().numpy()))
        number += 1


def literal_bce(probabilities: np.ndarray, masks: np.ndarray) -> float:
    return float(-(masks * np.log(probabilities) + (1 - masks) * np.log(1 - probabilities)).mean())


def test_it_has_the_sizes_of_the_authors_network() -> None:
    encoder = MaskEncoder(U2NetConfig.isnet())
    shapes = {name: tuple(weight.shape) for name, weight in encoder.state_dict().items()}
    assert shapes["conv_in.conv.weight"] == (16, 1, 3, 3)
    assert encoder.conv_in.conv.stride == (2, 2)
    assert encoder.conv_in.bn.num_features == 16
    blocks = [(7, 16, 64), (6, 16, 64), (5, 32, 128), (4, 32, 256), (4, 64, 512), (4, 64, 512)]
    channels = 16
    for number, (height, mid, out) in enumerate(blocks, start=1):
        stage = f"stage{number}"
        assert shapes[f"{stage}.rebnconvin.conv_s1.weight"] == (out, channels, 3, 3)
        assert shapes[f"{stage}.rebnconv{height}.conv_s1.weight"] == (mid, mid, 3, 3)
        assert f"{stage}.rebnconv{height + 1}.conv_s1.weight" not in shapes
        assert shapes[f"{stage}.rebnconv1d.conv_s1.weight"] == (out, 2 * mid, 3, 3)
        assert shapes[f"side{number}.weight"] == (1, out, 3, 3)
        assert encoder.get_submodule(stage).dilated == (number > 4)
        channels = out


def test_its_features_have_the_shapes_of_the_networks() -> None:
    supervision = tiny_supervision().eval()
    states = supervision.model(IMAGES, output_hidden_states=True).hidden_states
    expected = [*reversed(states[3:]), states[2]]
    features = supervision.teacher.features(MASKS[:, None])
    assert [feature.shape for feature in features] == [state.shape for state in expected]


def test_its_loss_is_the_sum_of_the_cross_entropies_of_its_maps() -> None:
    encoder = MaskEncoder(tiny_isnet().config)
    maps: list[torch.Tensor] = []
    for number in (1, 2, 3):
        encoder.get_submodule(f"side{number}").register_forward_hook(lambda side, inputs, map: maps.append(map))
    loss = encoder(MASKS[:, None].expand(-1, 3, -1, -1), MASKS).loss
    expected = 0.0
    for one in maps:
        resized = nn.functional.interpolate(one.detach(), size=(26, 31), mode="bilinear", align_corners=False)
        expected += literal_bce(resized.double().sigmoid().numpy()[:, 0], MASKS.double().numpy())
    assert len(maps) == 3
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ignored", [False, True])
def test_the_loss_is_the_sum_of_cross_entropies_and_squared_errors(ignored: bool) -> None:
    supervision = tiny_supervision()
    labels, counted = MASKS.clone(), np.ones(MASKS.shape, bool)
    if ignored:
        labels[:, :5], counted[:, :5] = 255, False
    found: list[np.ndarray] = []
    wanted: list[np.ndarray] = []
    record_inputs(supervision.model, "side", found)
    supervision.train()
    outputs = supervision(IMAGES, labels)
    record_inputs(supervision.teacher, "side", wanted)
    supervision.teacher(torch.where(labels == 255, 0, labels)[:, None])
    expected = sum(float(np.mean((one - other) ** 2)) for one, other in zip(found, wanted, strict=True))
    for logits in outputs.side_logits:
        probabilities = logits.detach().double().sigmoid().numpy()[:, 0]
        expected += literal_bce(probabilities[counted], MASKS.double().numpy()[counted])
    assert len(found) == len(outputs.side_logits) == 3
    assert outputs.loss.item() == pytest.approx(expected, rel=1e-5)
    outputs.loss.backward()
    assert supervision.model.stage1.rebnconvin.conv_s1.weight.grad.abs().sum() > 0


def test_the_encoder_stays_as_it_is() -> None:
    supervision = tiny_supervision()
    before = {name: value.clone() for name, value in supervision.teacher.state_dict().items()}
    running = supervision.model.stage1.rebnconvin.bn_s1.running_mean.clone()
    optimizer = torch.optim.Adam([one for one in supervision.parameters() if one.requires_grad], lr=0.1)
    supervision.train()
    for _ in range(2):
        supervision(IMAGES, MASKS).loss.backward()
        optimizer.step()
    assert not supervision.teacher.training
    assert supervision.model.training
    assert all(parameter.grad is None for parameter in supervision.teacher.parameters())
    assert all(torch.equal(value, before[name]) for name, value in supervision.teacher.state_dict().items())
    assert not torch.equal(supervision.model.stage1.rebnconvin.bn_s1.running_mean, running)


def test_another_networks_encoder_is_refused() -> None:
    other = tiny_u2net_config(stem_channels=3, fuse_side_maps=False, encoder_stages=[["RSU-4", 2, 4]] * 3)
    with pytest.raises(ValueError, match="of another network: train one with the same --config"):
        FeatureSupervision(tiny_isnet(), MaskEncoder(other))
    for config in (tiny_u2net_config(), tiny_u2net_config(stem_channels=3, out_channels=3)):
        with pytest.raises(ValueError, match="teaches an IS-Net for one object"):
            MaskEncoder(config)


def test_the_encoder_sees_masks() -> None:
    corpus = MasksAsImages(drawn_corpus(3))
    assert len(corpus) == 3
    assert corpus[1]["image"] == corpus[1]["mask"]
    assert corpus[1]["name"] == "1"
    make = MakeMaskSample(lambda record, epoch, index: {"pixel_values": None, "labels": MASKS[0], "name": "1"})
    sample = make({}, 0, 0)
    assert torch.equal(sample["pixel_values"], MASKS[0][None])
    assert torch.equal(sample["labels"], MASKS[0])


def test_training_goes_on_with_the_same_encoder_only(tmp_path: Path) -> None:
    folder, log = tmp_path / "run", tmp_path / "log"
    short = {"max_train_steps": 2, "validation_steps": 2}
    assert run_in_processes(lambda: tiny_training("isnet", folder, **short).run(), log) == [0], log.read_text()
    again = {"max_train_steps": 4, "validation_steps": 4, "resume_from_checkpoint": "latest"}
    assert run_in_processes(lambda: tiny_training("isnet", folder, encoder_seed=2, **again).run(), log) == [1]
    assert "was made with gt_encoder" in log.read_text()
    assert run_in_processes(lambda: tiny_training("isnet", folder, **again).run(), log) == [0], log.read_text()
