"""The `evaluate` module of the measures: `evaluate.load("path/to/sod_metrics")`."""

from typing import Any

import datasets
import evaluate

# evaluate copies this file and the siblings that it names itself, one statement each; it does not follow them further.
from .accumulator import MEASURES, SODMetrics
from .correction_effort import hce
from .masks import interpret_mask
from .measures import mae
from .pair import Pair

__all__ = ["Pair", "SODMetric", "hce", "interpret_mask", "mae"]

_DESCRIPTION = """\
The measures of the salient object detection papers: max, mean and adaptive F-beta (beta² = 0.3), mean absolute error,
weighted F-measure, S-measure, relaxed boundary F-measure, max, mean and adaptive E-measure, IoU, Dice and HCE (human
correction effort: clicks to correct the binary map).
E-measures are divided by N - 1 for N pixels, as in the published code, so they reach N / (N - 1): above 1 on a small
image. "max F-beta" has published variants that differ by several points on the same maps: say which one you report.
Only sums are kept, never the maps: a data set of any size needs a few kilobytes.
"""

_KWARGS_DESCRIPTION = f"""
Args:
    predictions: saliency maps of any sizes, uint8 (0...255) or floats in [0, 1]: numpy arrays, torch tensors, PIL
        images or nested lists. They are not stretched to [0, 1].
    references: the masks, each of the size of its map: two values of any kind (the darker is background), or soft
        (0...255 or floats in [0, 1], foreground above 128 of 255). A mask of several classes is refused.
    measures: names of the measures to return; by default all that are computed. `evaluate.load(path, measures=[...])`
        computes these and no others, by default all but hce, which takes longer than the rest: {", ".join(MEASURES)}.
    averaging: "dataset" (default; precision and recall are averaged over the images, then F: the tables of the papers
        and the evaluation tool of U²-Net's authors) or "image" (F is averaged over the images: PySODMetrics).
    return_curves: also return `precision`, `recall` and `f`, 256 numbers each, one for each threshold.
Returns:
    A dictionary of floats.
"""

_CITATION = """\
@inproceedings{achanta2009frequency, title={Frequency-tuned salient region detection}, author={Achanta, Radhakrishna
  and Hemami, Sheila and Estrada, Francisco and Susstrunk, Sabine}, booktitle={CVPR}, year={2009}}
@inproceedings{perazzi2012saliency, title={Saliency filters: Contrast based filtering for salient region detection},
  author={Perazzi, Federico and Krahenbuhl, Philipp and Pritch, Yael and Hornung, Alexander}, booktitle={CVPR},
  year={2012}}
@inproceedings{margolin2014evaluate, title={How to evaluate foreground maps?}, author={Margolin, Ran and Zelnik-Manor,
  Lihi and Tal, Ayellet}, booktitle={CVPR}, year={2014}}
@inproceedings{fan2017structure, title={Structure-measure: A new way to evaluate foreground maps}, author={Fan,
  Deng-Ping and Cheng, Ming-Ming and Liu, Yun and Li, Tao and Borji, Ali}, booktitle={ICCV}, year={2017}}
@inproceedings{fan2018enhanced, title={Enhanced-alignment measure for binary foreground map evaluation}, author={Fan,
  Deng-Ping and Gong, Cheng and Cao, Yang and Ren, Bo and Cheng, Ming-Ming and Borji, Ali}, booktitle={IJCAI},
  year={2018}}
@inproceedings{qin2019basnet, title={BASNet: Boundary-aware salient object detection}, author={Qin, Xuebin and Zhang,
  Zichen and Huang, Chenyang and Gao, Chao and Dehghan, Masood and Jagersand, Martin}, booktitle={CVPR}, year={2019}}
@inproceedings{qin2022highly, title={Highly accurate dichotomous image segmentation}, author={Qin, Xuebin and Dai, Hang
  and Hu, Xiaobin and Fan, Deng-Ping and Shao, Ling and Van Gool, Luc}, booktitle={ECCV}, year={2022}}
"""


class SODMetric(evaluate.Metric):
    """`evaluate.Metric` that keeps the sums of `SODMetrics` instead of maps.

    Args:
        measures: Names of the measures to compute, by default all but `hce`; give it to `evaluate.load`.
        **kwargs: Arguments of `evaluate.Metric`.
    """

    def __init__(self, *args: Any, measures: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = SODMetrics(measures)

    def __len__(self) -> int:
        return self._metrics.count

    def _info(self) -> evaluate.MetricInfo:
        # What users give. The sums, the only thing that is stored, fit the same type.
        image = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": image, "references": image}),
            reference_urls=[
                "https://github.com/xuebinqin/Binary-Segmentation-Evaluation-Tool",
                "https://github.com/lartpang/PySODMetrics",
            ],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one map and its mask."""
        # evaluate.combine calls it with the plural names.
        self.add_batch(
            predictions=[kwargs.pop("predictions", prediction)],
            references=[kwargs.pop("references", reference)],
            **kwargs,
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add maps and their masks."""
        if kwargs:
            raise ValueError(f"unknown inputs {list(kwargs)}, expected predictions and references")
        self._metrics.update(predictions, references)
        if self.writer is None:
            super().add_batch(predictions=[], references=[])  # several processes meet here, on their first images

    def compute(
        self,
        *,
        predictions: Any = None,
        references: Any = None,
        averaging: str = "dataset",
        measures: list[str] | None = None,
        return_curves: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """Add the images given, if any, and return the measures of all images added since the last call."""
        if kwargs:
            raise ValueError(f"unknown arguments {list(kwargs)}")
        self._metrics.check_arguments(averaging, measures, return_curves)
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if not len(self) and self.num_process == 1:
            raise ValueError("no images yet: call add or add_batch first, or give predictions and references")
        super().add_batch(predictions=[self._metrics.sums.tolist()], references=[[[]]])
        self._metrics.reset()
        return super().compute(averaging=averaging, measures=measures, return_curves=return_curves)

    def _compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        total = SODMetrics(self._metrics.measures)
        for sums in predictions:  # one for each process
            total.sums += sums
        return total.compute(**options)
