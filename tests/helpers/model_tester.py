"""What every model of the package must do, whatever its configuration: one tester, swept over all of them."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel


@dataclass(frozen=True)
class ModelCase:
    """One model in one configuration, small enough to train in a test."""

    name: str
    model_class: type[PreTrainedModel]
    make_config: Callable[[], PreTrainedConfig]
    make_labels: Callable[[torch.Tensor], torch.Tensor]
    """From `pixel_values` to fitting labels."""
    image_size: tuple[int, int] = (20, 28)

    def model(self) -> PreTrainedModel:
        torch.manual_seed(1)
        model = self.model_class(self.make_config())
        for module in model.modules():  # running statistics that are not the identity, as after training
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
        return model.eval()

    def images(self, batch_size: int = 2) -> torch.Tensor:
        generator = torch.Generator().manual_seed(2)
        return torch.randn(batch_size, self.make_config().num_channels, *self.image_size, generator=generator)


class ModelTester:
    """The sweep. A subclass sets `case` by parametrising over `ModelCase`s."""

    def test_save_and_load_are_bit_equal(self, case: ModelCase, tmp_path: Path) -> None:
        model, images = case.model(), case.images()
        model.save_pretrained(tmp_path)
        loaded = case.model_class.from_pretrained(tmp_path)
        assert not loaded.training
        of_this_process = {"dtype": None, "_name_or_path": None}
        assert loaded.config.to_dict() | of_this_process == model.config.to_dict() | of_this_process
        for (name, saved), restored in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
            assert torch.equal(saved, restored), name
        with torch.inference_mode():
            assert torch.equal(model(images).logits, loaded(images).logits)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_loads_in_half_precision(self, case: ModelCase, tmp_path: Path, dtype: torch.dtype) -> None:
        model, images = case.model(), case.images()
        model.save_pretrained(tmp_path)
        loaded = case.model_class.from_pretrained(tmp_path, dtype=dtype)
        assert {tensor.dtype for tensor in loaded.parameters()} == {dtype}
        with torch.inference_mode():
            exact, rounded = model(images).logits, loaded(images.to(dtype)).logits
        assert rounded.dtype == dtype
        torch.testing.assert_close(rounded.float(), exact, atol=0.1 * exact.abs().max().item(), rtol=0)

    def test_a_batch_gives_what_its_images_give_alone(self, case: ModelCase) -> None:
        model, images = case.model(), case.images(3)
        with torch.inference_mode():
            batch = model(images).logits
            alone = torch.cat([model(image[None]).logits for image in images])
        torch.testing.assert_close(batch, alone, atol=1e-5, rtol=1e-4)

    def test_gradients_reach_every_parameter(self, case: ModelCase) -> None:
        model, images = case.model().train(), case.images()
        model(images, labels=case.make_labels(images)).loss.backward()
        without = [name for name, tensor in model.named_parameters() if tensor.grad is None or not tensor.grad.any()]
        # A bias before a BatchNorm is canceled by it: its gradient is zero up to rounding, or exactly.
        assert [name for name in without if not name.endswith("bias")] == []
        assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in model.parameters())

    def test_a_few_steps_from_scratch_lower_the_loss(self, case: ModelCase) -> None:
        torch.manual_seed(3)
        model, images = case.model_class(case.make_config()).train(), case.images()
        labels = case.make_labels(images)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        losses = []
        for _ in range(25):
            loss = model(images, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert min(losses[-3:]) < 0.9 * losses[0]

    def test_exports_with_a_dynamic_batch(self, case: ModelCase) -> None:
        model = case.model()
        batch = torch.export.Dim("batch", min=1, max=64)
        with torch.no_grad():
            program = torch.export.export(
                model, (case.images(2),), dynamic_shapes={"pixel_values": {0: batch}}, strict=False
            )
            images = case.images(3)
            torch.testing.assert_close(program.module()(images)["logits"], model(images).logits, atol=1e-5, rtol=1e-4)

    def test_is_built_on_the_meta_device(self, case: ModelCase) -> None:
        with torch.device("meta"):
            model = case.model_class(case.make_config())
        assert {tensor.device.type for tensor in model.parameters()} == {"meta"}
        assert model.num_parameters() == case.model().num_parameters()

    def test_activation_checkpointing_changes_nothing(self, case: ModelCase) -> None:
        plain, images = case.model().train(), case.images()
        frugal = copy.deepcopy(plain)
        frugal.activation_checkpointing_enable()
        labels, results = case.make_labels(images), []
        for model in (plain, frugal):
            torch.manual_seed(4)  # the same dropout
            loss = model(images, labels=labels).loss
            loss.backward()
            results.append((loss, [tensor.grad for tensor in model.parameters()]))
        assert torch.equal(results[0][0], results[1][0])
        assert all(map(torch.equal, results[0][1], results[1][1]))

    def test_the_loss_is_float32_and_finite_under_autocast(self, case: ModelCase) -> None:
        model, images = case.model().train(), 100 * case.images()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(images, labels=case.make_labels(images)).loss
        loss.backward()
        assert loss.dtype == torch.float32
        assert loss.isfinite()

    def test_outputs_as_tuple_and_with_hidden_states(self, case: ModelCase) -> None:
        model, images = case.model(), case.images()
        with torch.inference_mode():
            outputs = model(images, output_hidden_states=True)
            as_tuple = model(images, return_dict=False)
        assert torch.equal(as_tuple[0], outputs.logits)
        assert model(images).hidden_states is None
        assert all(state.shape[0] == len(images) and state.ndim == 4 for state in outputs.hidden_states)

    def test_wrong_inputs_say_what_was_expected(self, case: ModelCase) -> None:
        model, images = case.model(), case.images()
        labels = case.make_labels(images)
        channels = case.make_config().num_channels
        with pytest.raises(ValueError, match=rf"pixel_values.*{channels}.*got \(2, {channels + 1}, "):
            model(torch.cat((images, images[:, :1]), dim=1))
        with pytest.raises(ValueError, match=r"pixel_values.*got"):
            model(images[0])
        with pytest.raises(ValueError, match=r"labels.*got \(1, "):
            model(images, labels=labels[:1])
        with pytest.raises(ValueError, match=r"labels.*got"):
            model(images, labels=labels[..., :-1])
