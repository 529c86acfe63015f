"""Every way of the fused network on each class of processors, by a cap on instructions, beside float64 on photos."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from u2net_hf.models.u2net.image_processing_u2net import U2NetImageProcessorPil
from u2net_hf.models.u2net.modeling_u2net import U2NetForImageSegmentation
from u2net_hf.weights.published import pull

# What oneDNN may use, what the rest of PyTorch may use, and the flag of the processor that it takes.
CLASSES = [("AVX2", "avx2", "avx2"), ("AVX512_CORE", "avx512", "avx512f")]
# Ways and their thresholds: the usual one, without and with each piece wherever it can be.
WAYS = {"usual": {}, "resized": {"MIN_WORK": 10**12}, "transposed": {"MIN_WORK": 0}, "winograd": {"MIN_CHANNELS": 0}}
PREDICT = f"""
import sys
import numpy as np
import torch
from u2net_hf.engines import fused_u2net, load_engine
torch.set_num_threads(1)
images, maps = np.load(sys.argv[1] + "/images.npy"), {{}}
usual = fused_u2net.MIN_WORK, fused_u2net.MIN_CHANNELS
for way, thresholds in {WAYS!r}.items():
    fused_u2net.MIN_WORK, fused_u2net.MIN_CHANNELS = usual
    for name, value in thresholds.items():
        setattr(fused_u2net, name, value)
    maps[way] = load_engine("u2netp", "torch", device="cpu").probabilities(images)
    auto = load_engine("u2netp", "torch", device="cpu", dtype="auto")
maps["auto"] = auto.probabilities(images)
np.savez(sys.argv[1] + "/maps.npz", dtype=auto.dtype, **maps)
"""


@pytest.mark.parametrize("photos", ["real"], indirect=True)
@pytest.mark.parametrize(("isa", "capability", "flag"), CLASSES, ids=[one[0] for one in CLASSES])
def test_maps_on_photos(isa: str, capability: str, flag: str, photos: list[Image.Image], tmp_path: Path) -> None:
    cpuinfo = Path("/proc/cpuinfo")
    if not (cpuinfo.is_file() and f" {flag} " in cpuinfo.read_text()):
        pytest.skip(f"this processor has no {flag}")
    model = U2NetForImageSegmentation.from_pretrained(pull("u2netp"), dtype=torch.float32)
    processor = U2NetImageProcessorPil.from_pretrained(pull("u2netp"), size={"height": 160, "width": 160})
    images = processor(photos[:1], return_tensors="pt")["pixel_values"]
    np.save(tmp_path / "images.npy", images.numpy())
    caps = {"ONEDNN_MAX_CPU_ISA": isa, "ATEN_CPU_CAPABILITY": capability, "ONEDNN_VERBOSE": "1"}
    command = [sys.executable, "-c", PREDICT, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | caps)
    kinds = {line.split(",")[6].partition(":")[2] for line in done.stdout.splitlines() if ",exec," in line}
    assert any(kind.startswith(isa.lower()) for kind in kinds), kinds  # the class's own kernels ran

    with torch.inference_mode():
        exact = model.double()(images.double()).logits.sigmoid()[:, 0].numpy()
    assert exact.max() - exact.min() > 0.9
    with np.load(tmp_path / "maps.npz") as maps:
        assert maps["dtype"] == "float32"  # none of these classes computes in bfloat16
        for way in (*WAYS, "auto"):
            difference = abs(maps[way] - exact)
            assert difference.max() < 1e-4, way
            assert difference.mean() < 1e-6, way
