"""The `evaluate` module of the measures: `evaluate.load("path/to/cell_metrics")`."""

from typing import Any

import datasets
import evaluate

# evaluate copies this file and the siblings that it names itself, one statement each; it does not follow them further.
from .accumulator import MEMBRANE_MEASURES, OBJECT_MEASURES, CellMetrics
from .measures import aji
from .membranes import v_rand
from .pair import LabelPair
from .warping import warp

__all__ = ["CellMetric", "LabelPair", "aji", "v_rand", "warp"]

_DESCRIPTION = """\
The measures of segmented cells and nuclei. Object by object, from label maps: TP / (TP + FP + FN) at the IoU
thresholds .5 to .95 ("average precision" of DSB 2018) and its mean, precision, recall and F1 at .5, panoptic quality,
AJI, SEG of the Cell Tracking Challenge and count errors. For membranes, from probabilities, masks or label maps: pixel
error, foreground-restricted V_rand and V_info with and without thinning, and warping error of the ISBI 2012 challenge.
Only sums are kept, never the images: a data set of any size needs a few kilobytes.
"""

_KWARGS_DESCRIPTION = f"""
Args:
    predictions: label maps (height, width) of any sizes, integers, 0 for background: numpy arrays, torch tensors, PIL
        images or nested lists. For the measures of membranes alone also masks, or the probability of a cell in [0, 1].
    references: the true label maps, each of the size of its prediction.
    measures: names of the measures to return; all that are computed by default.
        `evaluate.load(path, measures=[...])` computes these and no others, by default those of objects:
        {", ".join(OBJECT_MEASURES)}.
        Those of membranes need scikit-image:
        {", ".join(MEMBRANE_MEASURES)}.
    averaging: "image" (mean of the values of the images), "dataset" (pooled: what is divided is summed first) or
        "published" (default): what the publication of each measure does.
    return_curves: also return the ten values at all thresholds of each measure that has some, and `tp`, `fp`, `fn`.
Returns:
    A dictionary of floats.
"""

_CITATION = """\
@article{caicedo2019nucleus, title={Nucleus segmentation across imaging experiments: the 2018 Data Science Bowl},
  author={Caicedo, Juan C and Goodman, Allen and Karhohs, Kyle W and Cimini, Beth A and Ackerman, Jeanelle and
  Haghighi, Marzieh and others}, journal={Nature Methods}, volume={16}, year={2019}}
@inproceedings{kirillov2019panoptic, title={Panoptic segmentation}, author={Kirillov, Alexander and He, Kaiming and
  Girshick, Ross and Rother, Carsten and Doll{\\'a}r, Piotr}, booktitle={CVPR}, year={2019}}
@article{kumar2017dataset, title={A dataset and a technique for generalized nuclear segmentation for computational
  pathology}, author={Kumar, Neeraj and Verma, Ruchika and Sharma, Sanuj and Bhargava, Surabhi and Vahadane, Abhishek
  and Sethi, Amit}, journal={IEEE Transactions on Medical Imaging}, volume={36}, year={2017}}
@article{maska2014benchmark, title={A benchmark for comparison of cell tracking algorithms}, author={Ma{\\v{s}}ka,
  Martin and Ulman, Vladim{\\'i}r and Svoboda, David and Matula, Pavel and others}, journal={Bioinformatics},
  volume={30}, year={2014}}
@article{arganda2015crowdsourcing, title={Crowdsourcing the creation of image segmentation algorithms for
  connectomics}, author={Arganda-Carreras, Ignacio and Turaga, Srinivas C and Berger, Daniel R and others},
  journal={Frontiers in Neuroanatomy}, volume={9}, year={2015}}
@inproceedings{jain2010boundary, title={Boundary learning by optimization with topological constraints}, author={Jain,
  Viren and Bollmann, Benjamin and Richardson, Mark and others}, booktitle={CVPR}, year={2010}}
"""


class CellMetric(evaluate.Metric):
    """`evaluate.Metric` that keeps the sums of `CellMetrics` instead of images.

    Args:
        measures: Names of the measures to compute, those of objects by default; give it to `evaluate.load`.
        **kwargs: Arguments of `evaluate.Metric`.
    """

    def __init__(self, *args: Any, measures: list[str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._metrics = CellMetrics(measures)

    def __len__(self) -> int:
        return self._metrics.count

    def _info(self) -> evaluate.MetricInfo:
        # The sums are the only thing that is stored; what users give never passes through these features.
        image = datasets.Sequence(datasets.Sequence(datasets.Value("float64")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": image, "references": image}),
            reference_urls=[
                "https://www.nature.com/articles/s41592-019-0612-7",
                "https://celltrackingchallenge.net/evaluation-methodology/",
                "https://imagej.net/plugins/tws/scripting",
            ],
        )

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Add one image and its reference."""
        # evaluate.combine calls it with the plural names.
        self.add_batch(
            predictions=[kwargs.pop("predictions", prediction)],
            references=[kwargs.pop("references", reference)],
            **kwargs,
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Add images and their references."""
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
        averaging: str = "published",
        measures: list[str] | None = None,
        return_curves: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """Add the images given, if any, and return the measures of all images added since the last call."""
        if kwargs:
            raise ValueError(f"unknown arguments {list(kwargs)}")
        self._metrics.check_arguments(averaging, measures)
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if not len(self) and self.num_process == 1:
            raise ValueError("no images yet: call add or add_batch first, or give predictions and references")
        super().add_batch(predictions=[self._metrics.sums.tolist()], references=[[[]]])
        self._metrics.reset()
        return super().compute(averaging=averaging, measures=measures, return_curves=return_curves)

    def _compute(self, *, predictions: Any, references: Any, **options: Any) -> dict[str, Any]:
        total = CellMetrics(self._metrics.measures)
        for sums in predictions:  # one for each process
            total.sums += sums
        return total.compute(**options)
