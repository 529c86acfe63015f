# %% [markdown]
# # Fine-tune with Trainer
#
# Three classes from label masks, from the published weights, with transformers' own `Trainer`. The pictures are drawn
# and few, so that this page is made in seconds; the same lines train on yours. For resuming to the bit, validation by
# the papers' measures and streams, use `u2net-hf train-sod`.

# %%
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw
from transformers import Trainer, TrainingArguments

import u2net_hf
from u2net_hf import U2NetForImageSegmentation, U2NetImageProcessorPil
from u2net_hf.weights.convert import restore_batch_norm

id2label = {0: "background", 1: "disc", 2: "square"}


# %% [markdown]
# ## Images and label masks
#
# A label mask holds 0, 1, 2, ...; 255 is ignored.


# %%
def draw_pair(seed: int) -> tuple[Image.Image, np.ndarray]:
    """A disc and a square on noise, and the label of each pixel."""
    random = np.random.default_rng(seed)
    image = Image.fromarray(random.normal(110, 25, (64, 64, 3)).clip(0, 255).astype(np.uint8))
    labels = Image.new("L", image.size)
    for label, left in zip(random.permutation([1, 2]), (2, 34)):
        top, side = random.integers(3, 34), random.integers(18, 28)
        box, color = (left, top, left + side, top + side), tuple(random.integers(0, 255, 3).tolist())
        for canvas, fill in ((image, color), (labels, int(label))):
            draw = ImageDraw.Draw(canvas)
            (draw.ellipse if label == 1 else draw.rectangle)(box, fill=fill)
    return image, np.asarray(labels)


train, validation = [draw_pair(seed) for seed in range(32)], [draw_pair(seed) for seed in range(100, 106)]

# %% [markdown]
# The processor prepares images and masks together.

# %%
folder = u2net_hf.pull("u2netp")
processor = U2NetImageProcessorPil.from_pretrained(folder, size={"height": 64, "width": 64})


def collate(pairs: list) -> dict[str, torch.Tensor]:
    """A batch as the model takes it: `pixel_values` and `labels`."""
    images, masks = zip(*pairs)
    return dict(processor(list(images), segmentation_maps=list(masks), return_tensors="pt"))


{name: (tuple(values.shape), values.dtype) for name, values in collate(train[:2]).items()}

# %% [markdown]
# ## The network
#
# `id2label` with another number of labels gives new output layers; all else comes from the published weights. Their
# BatchNorms are folded into the convolutions: training wants live ones, measured on a few batches.

# %%
torch.manual_seed(0)
model = U2NetForImageSegmentation.from_pretrained(folder, id2label=id2label, ignore_mismatched_sizes=True)
model = restore_batch_norm(model, [collate(train[i : i + 8]) for i in (0, 8)])
model.config.num_labels, f"{model.num_parameters():,}"

# %% [markdown]
# ## Train
#
# The loss is the model's own: `labels` in, `loss` out.

# %%
arguments = TrainingArguments(
    output_dir=tempfile.mkdtemp(),
    max_steps=30,
    per_device_train_batch_size=4,
    learning_rate=2e-3,
    warmup_steps=5,
    lr_scheduler_type="cosine",
    logging_steps=10,
    remove_unused_columns=False,
    report_to="none",
    disable_tqdm=True,
    save_strategy="no",
    use_cpu=not torch.cuda.is_available(),
)
trainer = Trainer(model=model, args=arguments, train_dataset=train, data_collator=collate)
outcome = trainer.train()

# %%
losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
print("loss of the seven maps:", " → ".join(f"{loss:.2f}" for loss in losses))

# %% [markdown]
# ## Look, and measure
#
# The intersection over union of each class, over all validation images.

# %%
model.eval()
with torch.inference_mode():
    outputs = model(**processor([image for image, _ in validation], return_tensors="pt").to(model.device))
found = processor.post_process_semantic_segmentation(outputs, target_sizes=[(64, 64)] * len(validation))

truth = np.stack([labels for _, labels in validation])
labels = torch.stack(list(found)).cpu().numpy()
for label, name in id2label.items():
    either, both = (labels == label) | (truth == label), (labels == label) & (truth == label)
    print(f"{name:12} IoU {both.sum() / either.sum():.2f}")

figure, axes = plt.subplots(3, 6, figsize=(12, 6))
for column, (image, true), one in zip(axes.T, validation, labels):
    for axis, picture in zip(column, (image, true, one)):
        axis.imshow(picture, vmin=0, vmax=2)
        axis.axis("off")
plt.show()

# %% [markdown]
# ## Publish
#
# `model.push_to_hub("me/shapes")` and `processor.push_to_hub("me/shapes")` write a repository that works without this
# package; `u2net-hf push model FOLDER me/shapes --license mit` adds a card. Here, a folder:

# %%
made = tempfile.mkdtemp()
model.save_pretrained(made)
processor.save_pretrained(made)
again = U2NetForImageSegmentation.from_pretrained(made)
again.config.id2label
