"""The handler of a published model, loaded and called as the Hub's Inference Endpoints do it, without the package.

As in huggingface-inference-toolkit: utils.py (check_and_register_custom_pipeline_from_directory), and its bodies in
serialization/: a picture comes as `Image.open(...).convert("RGB")`, options of the address as text.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from prediction_helpers import Pair, noise
from without_package import NO_PACKAGE

from u2net_hf.engines import load_engine
from u2net_hf.hub.publish import publish_model
from u2net_hf.models.u2net.render_u2net import RenderOptions
from u2net_hf.removal.removal import remove_background

pytest_plugins = ["prediction_helpers"]

ENDPOINT = (
    NO_PACKAGE
    + """
import base64, importlib.util, json
from pathlib import Path
from PIL import Image

model_dir, photo = sys.argv[1:]
spec = importlib.util.spec_from_file_location("handler.EndpointHandler", Path(model_dir, "handler.py"))
sys.path.insert(0, model_dir)
module = importlib.util.module_from_spec(spec)
sys.modules["handler.EndpointHandler"] = module
spec.loader.exec_module(module)
handler = module.EndpointHandler(model_dir)

picture = Image.open(photo).convert("RGB")
text = base64.b64encode(Path(photo).read_bytes()).decode()
handler({"inputs": picture}).save("picture.png")
handler({"inputs": text, "parameters": {"mask": True, "crop": 0}}).save("mask.png")
white = {"threshold": "0.5", "background": "white"}
handler({"inputs": f"data:image/png;base64,{text}", "parameters": white}).save("white.png")
errors = []
for body in (
    {"inputs": photo}, {"inputs": "http://127.0.0.1:9/x.png"}, {"inputs": "file://" + photo}, {"inputs": ""},
    {"inputs": text, "parameters": {"background": photo}}, {"inputs": text, "parameters": {"timeout": 1}},
    {"inputs": text, "parameters": {"mask": "yes"}}, {"inputs": text, "parameters": {"threshold": "high"}},
):
    try:
        handler(body)
        errors.append(None)
    except ValueError as error:
        errors.append(str(error))
print(json.dumps(errors))
"""
)


def test_handler(folder: Path, tmp_path: Path, tiny: Pair) -> None:
    publish_model(folder, "me/net", license="mit", dry_run=tmp_path / "published")
    noise(40, 30).save(tmp_path / "photo.png")
    command = [sys.executable, "-c", ENDPOINT, str(tmp_path / "published"), str(tmp_path / "photo.png")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    engine = load_engine(folder, device="cpu")
    for name, options in {
        "picture": RenderOptions(),
        "mask": RenderOptions(mask=True, crop=0),
        "white": RenderOptions(threshold=0.5, background="white"),
    }.items():
        expected = remove_background(tmp_path / "photo.png", engine, options)
        result = Image.open(tmp_path / f"{name}.png")
        assert (result.mode, result.size) == (expected.mode, expected.size)
        difference = np.abs(np.asarray(result).astype(int) - np.asarray(expected))
        assert (difference > 1).mean() < 0.01, name  # the network's last digits decide at the threshold
    errors = json.loads(done.stdout)
    assert len(errors) == 8
    assert None not in errors
