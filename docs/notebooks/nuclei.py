# %% [markdown]
# # Nuclei, from the image to the numbers
#
# In a checkout, with `pip install -e '.[cells,train]'`. The network comes with the package.

# %%
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image
from skimage.segmentation import find_boundaries

from u2net_hf import segment_image
from u2net_hf.cell_metrics import CellMetrics

pictures = next(folder / "docs/images" for folder in (Path.cwd(), *Path.cwd().parents)
                if (folder / "docs/images").is_dir())  # fmt: skip
image_file = pictures / "nuclei_fluorescence.png"

# %% [markdown]
# ## Find and measure
#
# Images of any size and depth, tile by tile. `labels` numbers the objects, `table` measures them, in pixels and, where
# the file says how large they are, in µm.

# %%
found = segment_image(image_file)
print(found.labels.max(), "nuclei")
for name in ("label", "area", "mean_intensity", "score"):
    column = next(values for key, values in found.table.items() if key.startswith(name))
    print(f"{name:16}", *(f"{value:9.2f}" for value in column[:6]))

# %%
image = np.asarray(Image.open(image_file).convert("L"))
contours = np.dstack([image] * 3)
contours[find_boundaries(found.labels)] = (255, 0, 255)
figure, axes = plt.subplots(1, 3, figsize=(13, 4))
for axis, picture, title in zip(
    axes, (image, contours, found.labels % 19 + (found.labels > 0)), ("image", "outlines", "labels")
):
    axis.imshow(picture, cmap="gray" if picture is image else "nipy_spectral")
    axis.set_title(title)
    axis.axis("off")
plt.show()

# %% [markdown]
# ## How many are missed?
#
# Compare with labels of your own. Here the truth is what the network found, and a threshold is put in its place: what
# does a threshold lose against it?

# %%
from skimage.filters import threshold_otsu
from skimage.measure import label

metrics = CellMetrics(measures=("ap50", "f1", "count_error"))
metrics.update(label(image > threshold_otsu(image)), found.labels)
metrics.compute()

# %% [markdown]
# ## Fine-tune on your own
#
# Images in `images/`, label images of the same names in `instances/`: `u2net-hf segment` gives the first draft to
# mend. Two steps show that it runs; a thousand make a network.

# %%
corpus, output = Path(tempfile.mkdtemp()), tempfile.mkdtemp()
for folder in ("images", "instances"):
    (corpus / folder).mkdir()
for number in range(3):
    turned = slice(None, None, -1 if number else 1)
    Image.fromarray(image[turned]).save(corpus / "images" / f"{number}.png")
    Image.fromarray(found.labels[turned].astype(np.uint16)).save(corpus / "instances" / f"{number}.png")

command = f"""train-unet --dataset_name {corpus} --label_maps --train_split train[:2] --validation_split train[2:]
    --model_name_or_path nuclei --percentiles 1 99.8 --resolution 64 --optimizer adamw --learning_rate 2e-4
    --max_train_steps 2 --output_dir {output} --overwrite_output_dir"""
subprocess.run([sys.executable, "-m", "u2net_hf", *command.split()], check=True, capture_output=True)
sorted(path.name for path in Path(output).iterdir())

# %%
segment_image(image_file, output).labels.max()
