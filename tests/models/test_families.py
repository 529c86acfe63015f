"""The table of networks: every entry has what those who read it look for."""

from pathlib import Path

import pytest
from transformers import PreTrainedConfig, PreTrainedModel

import u2net_hf
from u2net_hf.models.families import FAMILIES, Family, family_of
from u2net_hf.utils.resources import find_template

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.model_type)
def test_an_entry_is_complete(family: Family) -> None:
    assert issubclass(family.config_class, PreTrainedConfig)
    assert issubclass(family.model_class, PreTrainedModel)
    assert family.model_class.config_class is family.config_class
    assert family.config_class.model_type == family.model_type
    pil, torchvision = map(family.image_processor_class, ("pil", "torchvision"))
    assert pil.__name__ == torchvision.__name__ + "Pil"  # by which transformers finds one from the other
    for made in (family.config_class, family.model_class, pil, torchvision):
        assert getattr(u2net_hf, made.__name__) is made
    assert find_template(f"model/{family.model_type}.md").is_file()
    assert (ROOT / "src" / "u2net_hf" / "cli" / f"{family.training_module}.py").is_file()
    assert family.name(family.config_class())
    swept = (ROOT / "tests/models/test_all_models.py").read_text()
    assert f'ModelCase("{family.model_type}", {family.model},' in swept


def test_every_network_of_the_package_is_in_the_table() -> None:
    folders = {path.name for path in (ROOT / "src/u2net_hf/models").iterdir() if (path / "__init__.py").is_file()}
    assert folders == set(FAMILIES)


def test_other_networks_are_named() -> None:
    with pytest.raises(ValueError, match="net is a network of the type segformer; known here are u2net, unet"):
        family_of("segformer", "net")
