"""The shipped network for nuclei: what it is, and what it finds in the pictures of the documentation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from u2net_hf import UNetForSemanticSegmentation, UNetImageProcessorPil, pull, segment_image
from u2net_hf.weights.published import PUBLISHED

IMAGES = Path(__file__).parents[2] / "docs" / "images"


def test_weights_are_half_as_large_and_run_in_single_precision() -> None:
    model = UNetForSemanticSegmentation.from_pretrained(pull("nuclei"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.num_parameters() == PUBLISHED["nuclei"].num_parameters < 2e6
    assert (pull("nuclei") / "model.safetensors").stat().st_size < 4e6
    assert UNetImageProcessorPil.from_pretrained(pull("nuclei")).percentiles == [1, 99.8]


@pytest.mark.parametrize(
    ("picture", "counted", "sign"), [("nuclei_fluorescence.png", 29, 1), ("nuclei_tissue.png", 111, -1)]
)
def test_nuclei_of_both_stains_are_found(picture: str, counted: int, sign: int) -> None:
    """As many as its corpus has, within a fifth; lighter than the rest under fluorescence, darker when stained."""
    labels = segment_image(IMAGES / picture).labels
    gray = np.asarray(Image.open(IMAGES / picture).convert("L"), np.float64)
    assert abs(int(labels.max()) - counted) <= counted / 5
    assert sign * (gray[labels > 0].mean() - gray[labels == 0].mean()) > 15
