"""Our soft maps of real photos beside the authors' way to make them: their ONNX, fed by their scikit-image code."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.engines.predict import saliency_maps
from u2net_hf.engines.torch_engine import ModelEngine
from u2net_hf.weights.published import CheckpointError, pull, pull_onnx

PHOTOS = 8


def test_the_authors_maps_of_real_photos(shared_data: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    transform = pytest.importorskip("skimage.transform")
    try:
        folder, onnx = pull("u2netp"), pull_onnx("u2netp")
    except CheckpointError as error:
        pytest.skip(f"needs the published weights: {error}")
    photos = [Image.open(path) for path in sorted((shared_data / "sod300" / "images").iterdir())[:PHOTOS]]
    model = U2NetForImageSegmentation.from_pretrained(folder)
    processor = U2NetImageProcessorPil.from_pretrained(folder, do_antialias=False)
    ours = saliency_maps(photos, ModelEngine(model.eval(), processor), do_min_max=True)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # threads that wait by spinning take minutes on a busy machine
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    for photo, our_map in zip(photos, ours, strict=True):
        # `RescaleT`, `ToTensorLab` and `normPRED` of the released code, then the map at the photo's size.
        image = transform.resize(np.asarray(photo), (320, 320), mode="constant", anti_aliasing=False, order=1)
        image = (image / image.max() - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
        inputs = {session.get_inputs()[0].name: image.transpose(2, 0, 1)[None].astype(np.float32)}
        saliency = session.run(None, inputs)[0][0, 0]
        saliency = (saliency - saliency.min()) / (saliency.max() - saliency.min())
        theirs = np.asarray(Image.fromarray(saliency).resize(photo.size, Image.Resampling.BILINEAR))
        assert abs(our_map - theirs).mean() < 1e-5
