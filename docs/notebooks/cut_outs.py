# %% [markdown]
# # Cut-outs and scores
#
# In a checkout, with `pip install -e '.[train,matting]'`. U²-Net† comes with the package; nothing is downloaded.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw
from transformers import pipeline

import u2net_hf
from u2net_hf.sod_metrics import SODMetrics

photo_file = next(folder / "hub_cards/space/coffee.jpg" for folder in (Path.cwd(), *Path.cwd().parents)
                  if (folder / "hub_cards").is_dir())  # fmt: skip
photo = Image.open(photo_file)

# %% [markdown]
# ## A photo
#
# The pipeline gives the cut-out, or the soft mask alone.

# %%
remover = pipeline("background-removal")
cut_out = remover(photo)
mask = remover(photo, mask=True)
shop = remover(photo, background="#2a9d8f", matting=True)

figure, axes = plt.subplots(1, 4, figsize=(14, 3))
for axis, picture, title in zip(
    axes, (photo, mask, cut_out, shop), ("photo", "mask", "cut-out", "matting, on a color")
):
    axis.imshow(picture, cmap="gray")
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## Many photos, on another engine
#
# `load_engine` takes a published name, a folder or a Hub id, several of them for the mean of their maps, and says what
# runs it: PyTorch, ONNX Runtime or OpenVINO, in float32, bfloat16 or int8.

# %%
engine = u2net_hf.load_engine("u2netp", dtype="float32")
(soft_map,) = u2net_hf.saliency_maps([photo], engine)
soft_map.shape, soft_map.dtype, float(soft_map.min()), float(soft_map.max())


# %% [markdown]
# ## Score it
#
# Photos with true masks: here drawn ones, so that the truth is known. Yours come from
# `u2net_hf.data.corpora.load_corpus`, and `u2net-hf evaluate-sod` does all of this for a whole corpus.


# %%
def draw_pair(seed: int) -> tuple[Image.Image, np.ndarray]:
    """A bright ellipse on a textured ground, and its mask."""
    random = np.random.default_rng(seed)
    ground = random.normal(90, 12, (200, 260, 3)).clip(0, 255).astype(np.uint8)
    image, mask = Image.fromarray(ground), Image.new("L", (260, 200))
    left, top = random.integers(30, 90, 2)
    box = (left, top, left + random.integers(60, 120), top + random.integers(60, 90))
    ImageDraw.Draw(image).ellipse(box, fill=tuple(random.integers(150, 255, 3).tolist()))
    ImageDraw.Draw(mask).ellipse(box, fill=255)
    return image, np.asarray(mask) > 127


pairs = [draw_pair(seed) for seed in range(6)]
metrics = SODMetrics(measures=("max_f", "mae", "s_measure", "weighted_f"))
for soft_map, (_, mask) in zip(u2net_hf.saliency_maps([image for image, _ in pairs], engine), pairs):
    metrics.update(soft_map, mask)
metrics.compute(averaging="dataset")  # as the papers do it; "image" is PySODMetrics' way

# %%
figure, axes = plt.subplots(2, 6, figsize=(14, 4))
for column, (image, _) in zip(axes.T, pairs):
    column[0].imshow(image)
    column[1].imshow(remover(image, mask=True), cmap="gray")
    [axis.axis("off") for axis in column]
plt.show()
