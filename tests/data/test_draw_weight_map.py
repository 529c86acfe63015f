import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

SCRIPT = Path(__file__).parents[2] / "scripts" / "draw_weight_map.py"


def test_the_picture_shows_cells_that_do_not_touch(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("draw_weight_map", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    instances = script.draw_cells()
    assert len(np.unique(instances)) > 30
    highest = ndimage.maximum_filter(instances, footprint=ndimage.generate_binary_structure(2, 1))
    assert np.isin(highest[instances > 0] - instances[instances > 0], 0).all()
    script.main(tmp_path / "weights.png")
    assert [path.name for path in tmp_path.iterdir()] == ["weights.png"]
    with Image.open(tmp_path / "weights.png") as picture:
        assert picture.width > 800
