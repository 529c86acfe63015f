"""From the logits of a U-Net to maps of whole images: what both image processors do after the network."""

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F
from transformers.image_utils import SizeDict
from transformers.modeling_outputs import SemanticSegmenterOutput

from .instances_unet import InstanceOptions, expected_depth, separate_instances
from .tiling_unet import plan_image, stitch


class UNetPostProcessing:
    """Methods of [`UNetImageProcessor`] and [`UNetImageProcessorPil`], for outputs of images prepared by them."""

    padding: str
    upsampling: str
    depth: int
    tile_size: SizeDict | None
    do_resize: bool
    size: SizeDict
    instances: dict[str, Any] | None

    def post_process_semantic_segmentation(
        self, outputs: SemanticSegmenterOutput, target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None
    ) -> list[torch.Tensor]:
        """Turn logits into label maps, as `pipeline("image-segmentation")` asks for.

        Args:
            outputs ([`SemanticSegmenterOutput`]):
                Output of [`UNetForSemanticSegmentation`] for all tiles of the images, in their order.
            target_sizes (`list[tuple[int, int]]`, *optional*):
                `(height, width)` of each image. Tiles are put together and mirrored borders cut off; outputs of
                resized images are resized back. Without it each output stays as it is.

        Returns:
            `list[torch.Tensor]`: One int64 map of shape `(height, width)` per image, on the CPU: the label with the
            highest logit, or with one label 1 where its probability is above 0.5.

        Raises:
            ValueError: If the outputs are not those of images of these sizes.
        """
        return [
            (logits[0] > 0).long().cpu() if len(logits) == 1 else logits.max(dim=0).indices.cpu()
            for logits in self._image_logits(outputs.logits, target_sizes)
        ]

    def post_process_probabilities(
        self, outputs: SemanticSegmenterOutput, target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None
    ) -> list[torch.Tensor]:
        """Turn logits into the probability of every label at every pixel.

        Args:
            outputs ([`SemanticSegmenterOutput`]): As in `post_process_semantic_segmentation`.
            target_sizes (`list[tuple[int, int]]`, *optional*): As in `post_process_semantic_segmentation`.

        Returns:
            `list[torch.Tensor]`: One float32 map in [0, 1] of shape `(num_labels, height, width)` per image, on the
            device of the logits: their softmax, or with one label the sigmoid.

        Raises:
            ValueError: If the outputs are not those of images of these sizes.
        """
        return [
            logits.sigmoid() if len(logits) == 1 else logits.softmax(dim=0)
            for logits in self._image_logits(outputs.logits, target_sizes)
        ]

    def post_process_saliency(
        self,
        outputs: SemanticSegmenterOutput,
        target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None,
        do_min_max: bool = False,
    ) -> list[torch.Tensor]:
        """Turn logits into soft maps of all that is not background, as `pipeline("background-removal")` asks for.

        Args:
            outputs ([`SemanticSegmenterOutput`]): As in `post_process_semantic_segmentation`.
            target_sizes (`list[tuple[int, int]]`, *optional*): As in `post_process_semantic_segmentation`.
            do_min_max (`bool`, *optional*, defaults to `False`):
                Whether to stretch each map to [0, 1]. A flat map stays as it is.

        Returns:
            `list[torch.Tensor]`: One float32 map in [0, 1] of shape `(height, width)` per image, on the device of the
            logits: the probability of everything but label 0, or with one label that of the label.

        Raises:
            ValueError: If the outputs are not those of images of these sizes.
        """
        probabilities = self.post_process_probabilities(outputs, target_sizes)
        maps = [one[0] if len(one) == 1 else 1 - one[0] for one in probabilities]
        if do_min_max:
            maps = [(one - one.min()) / (one.max() - one.min()) if one.max() > one.min() else one for one in maps]
        return maps

    @property
    def post_process_instance_segmentation(self) -> Callable[..., list[dict[str, Any]]]:
        """`(outputs, threshold=None, mask_threshold=None, overlap_mask_area_threshold=None, target_sizes=None)`: turn
        logits into objects, as `pipeline("image-segmentation")` asks for, which takes this method if there is one.
        So there is one only if `instances` is set: for a network whose labels are levels of depth, from the rim of an
        object to its core (with two labels the only level is the object itself).

        Args:
            outputs ([`SemanticSegmenterOutput`]): As in `post_process_semantic_segmentation`.
            threshold (`float`, *optional*): Objects of no higher score are left out, instead of `min_score`.
            mask_threshold (`float`, *optional*): Pixels above it are part of an object, instead of its namesake.
            overlap_mask_area_threshold (`float`, *optional*): Of no matter: these objects do not overlap.
            target_sizes (`list[tuple[int, int]]`, *optional*): As in `post_process_semantic_segmentation`.

        Returns:
            `list[dict]`: For each image `segmentation`, an int32 map of shape `(height, width)` on the CPU, 0 =
            background, and `segments_info`: `id` (the number in the map), `label_id` (that of the core) and `score`
            (the mean probability of not being background) of each object.

        Raises:
            AttributeError: If `instances` is not set.
            ImportError: If scikit-image is not installed.
        """
        if self.instances is None:
            raise AttributeError(
                "This processor is one for semantic segmentation: set `instances` (to {}, or options)."
            )
        return self._instance_segmentation

    def _instance_segmentation(
        self,
        outputs: SemanticSegmenterOutput,
        threshold: float | None = None,
        mask_threshold: float | None = None,
        overlap_mask_area_threshold: float | None = None,
        target_sizes: "list[tuple[int, int]] | torch.Tensor | None" = None,
    ) -> list[dict[str, Any]]:
        given = {"min_score": threshold, "mask_threshold": mask_threshold}
        options = InstanceOptions(
            **((self.instances or {}) | {name: value for name, value in given.items() if value is not None})
        )
        results = []
        for probabilities in self.post_process_probabilities(outputs, target_sizes):
            maps = probabilities.detach().cpu().numpy()
            foreground = maps[0] if len(maps) == 1 else 1 - maps[0]
            labels, scores = separate_instances(foreground, expected_depth(maps), options)
            info = [
                {"id": number, "label_id": len(maps) - 1, "score": round(float(score), 6)}
                for number, score in enumerate(scores, start=1)
            ]
            results.append({"segmentation": torch.from_numpy(labels), "segments_info": info})
        return results

    def _image_logits(
        self, logits: torch.Tensor | None, target_sizes: "list[tuple[int, int]] | torch.Tensor | None"
    ) -> list[torch.Tensor]:
        """Put tiles together and resize: float32 logits `(num_labels, height, width)` of each image."""
        logits = logits.float()
        if target_sizes is None:
            return list(logits)
        options = {name: getattr(self, name) for name in ("tile_size", "depth", "padding", "upsampling")}
        targets = [(int(height), int(width)) for height, width in target_sizes]
        if self.padding == "same" and self.tile_size is None:
            inputs = [(logits.shape[-2], logits.shape[-1])] * len(targets)  # the network keeps any size
        elif self.do_resize:
            inputs = [(self.size["height"], self.size["width"])] * len(targets)
        else:
            inputs = targets
        plans = [plan_image(size, **options) for size in inputs]
        counts = [len(rows.starts) * len(columns.starts) for rows, columns in plans]
        expected = {tuple(side.kept + 2 * side.surplus for side in plan) for plan in plans}
        if sum(counts) != len(logits) or not expected <= {tuple(logits.shape[-2:])}:
            raise ValueError(
                f"With the options of this processor ({options}), images of the sizes {targets} have {sum(counts)} "
                f"outputs of the size {sorted(expected)}, but `outputs` has {len(logits)} of "
                f"{tuple(logits.shape[-2:])}. It must hold all tiles of all images (a pipeline needs batch_size=1 for "
                "that), and the images must have been prepared with the same options."
            )
        results = []
        for tiles, plan, size, target in zip(logits.split(counts), plans, inputs, targets, strict=True):
            whole = stitch(tiles, *plan, *size)
            if size != target:
                smaller = target[0] < size[0] or target[1] < size[1]
                whole = F.interpolate(
                    whole[None], size=target, mode="bilinear", align_corners=False, antialias=smaller
                )[0]
            results.append(whole)
        return results


__all__ = ["UNetPostProcessing"]
