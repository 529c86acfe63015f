"""Matting, on drawn pictures whose alpha and colors are known: C = alpha F + (1 - alpha) B."""

import builtins
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image, ImageFilter

from u2net_hf.models.u2net.render_u2net import (
    MattingUnavailableError,
    RenderOptions,
    cutoff_trimap,
    refine_alpha,
    render,
)

OBJECT = np.array([220, 60, 40])
BACKDROP = np.array([20, 120, 200])


class Drawn(NamedTuple):
    image: Image.Image
    alpha: np.ndarray
    soft_map: np.ndarray


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """A disc with fine spikes and a soft edge, and the blurred map that a coarse network would make of it."""
    size = 160
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    radius = 45 + 5 * np.cos(24 * np.arctan2(y, x))
    alpha = np.clip((radius - np.hypot(x, y)) / 4 + 0.5, 0, 1)
    shading = 1 + 0.1 * np.sin(x / 25)[..., None]
    pixels = alpha[..., None] * OBJECT * shading + (1 - alpha[..., None]) * BACKDROP
    blurred = Image.fromarray(np.rint(alpha * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(4))
    return Drawn(Image.fromarray(np.rint(pixels).astype(np.uint8)), alpha, np.asarray(blurred) / np.float32(255))


def distance(colors: np.ndarray, where: np.ndarray) -> float:
    """Mean distance of colors from the object's."""
    return float(np.abs(colors.astype(float) - OBJECT)[where].mean())


def test_alpha_and_colors_come_closer_to_the_truth(drawn: Drawn) -> None:
    pytest.importorskip("pymatting")
    alpha, colors = refine_alpha(drawn.image, drawn.soft_map, margin=0.03)
    assert (alpha.shape, alpha.dtype, colors.shape, colors.dtype) == ((160, 160), "f4", (160, 160, 3), "u1")
    assert 0 <= alpha.min() <= alpha.max() <= 1
    before, after = (np.abs(one - drawn.alpha).mean() for one in (drawn.soft_map, alpha))
    assert after < before / 4
    edge = (drawn.alpha > 0.1) & (drawn.alpha < 0.9)
    assert distance(colors, edge) < distance(np.asarray(drawn.image), edge) / 3
    whole = drawn.alpha * (alpha == 1) == 1
    assert whole.mean() > 0.1
    assert np.array_equal(colors[whole], np.asarray(drawn.image)[whole])


def test_a_large_photo_is_solved_at_reduced_size(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    pymatting = pytest.importorskip("pymatting")
    solve, solved = pymatting.estimate_alpha_cf, []

    def spy(image: np.ndarray, trimap: np.ndarray) -> np.ndarray:
        solved.append((image.shape, trimap.shape))
        return solve(image, trimap)

    monkeypatch.setattr(pymatting, "estimate_alpha_cf", spy)
    alpha, colors = refine_alpha(drawn.image, drawn.soft_map, margin=0.03, max_size=80)
    assert solved == [((80, 80, 3), (80, 80))]
    assert (alpha.shape, colors.shape) == ((160, 160), (160, 160, 3))
    assert np.abs(alpha - drawn.alpha).mean() < np.abs(drawn.soft_map - drawn.alpha).mean() / 2


@pytest.mark.parametrize(
    "soft_map",
    [np.full((160, 160), 0.5), np.zeros((160, 160)), np.ones((160, 160)), np.eye(160)],
    ids=["all unsure", "nothing", "all object", "too thin"],
)
def test_without_three_parts_nothing_changes(drawn: Drawn, soft_map: np.ndarray) -> None:
    pytest.importorskip("pymatting")
    alpha, colors = refine_alpha(drawn.image, soft_map)
    assert np.array_equal(alpha, soft_map.astype(np.float32))
    assert np.array_equal(colors, np.asarray(drawn.image))


def test_the_trimap() -> None:
    soft_map = np.repeat([[1, 1, 1, 1, 0.5, 0, 0, 0, 0, 0]], 10, axis=0)
    trimap = cutoff_trimap(soft_map, 0.94, 0.04, margin=0.2)  # 2 pixels
    assert trimap[5].tolist() == [1, 1, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0, 0]
    assert (trimap == trimap[0]).all()  # also at the border


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": 0.5}, "margin"),
        ({"max_size": 8}, "max_size"),
        ({"foreground_threshold": 0.1, "background_threshold": 0.2}, "background_threshold < foreground_threshold"),
    ],
)
def test_options_out_of_range(drawn: Drawn, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refine_alpha(drawn.image, drawn.soft_map, **options)


def test_image_and_map_that_do_not_fit(drawn: Drawn) -> None:
    with pytest.raises(ValueError, match="RGB image"):
        refine_alpha(drawn.image.convert("L"), drawn.soft_map)
    with pytest.raises(ValueError, match="shape"):
        refine_alpha(drawn.image, drawn.soft_map[1:])


def test_without_pymatting_the_error_says_how_to_get_it(drawn: Drawn, monkeypatch: pytest.MonkeyPatch) -> None:
    ordinary = builtins.__import__

    def without(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "pymatting":
            raise ImportError(name)
        return ordinary(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MattingUnavailableError, match=r"pip install 'u2net-hf\[matting\]'"):
        refine_alpha(drawn.image, drawn.soft_map)


def test_the_solver_leaves_standard_output_alone(drawn: Drawn, capfd: pytest.CaptureFixture[str]) -> None:
    """Of a matrix that is not positive definite it would print a warning, into the cut-out that is written there."""
    pymatting = pytest.importorskip("pymatting")
    from scipy.sparse import csc_matrix

    refine_alpha(drawn.image, drawn.soft_map)
    pymatting.ichol(csc_matrix([[1.0, 2.0], [2.0, 1.0]]))
    assert capfd.readouterr().out == ""


def test_a_cut_out_without_halo(drawn: Drawn) -> None:
    """Before a new background, the picture is nearly what it would be if the object had stood there."""
    pytest.importorskip("pymatting")
    new = np.array([0, 255, 0])
    wanted = drawn.alpha[..., None] * OBJECT + (1 - drawn.alpha[..., None]) * new
    backdrop = Image.new("RGB", (1, 1), (0, 255, 0))
    errors = [
        np.abs(np.asarray(render(drawn.image, drawn.soft_map, options)) - wanted)[drawn.alpha < 0.9].mean()
        for options in (RenderOptions(background=backdrop), RenderOptions(background=backdrop, matting=True))
    ]
    assert errors[1] < errors[0] / 3


def test_matting_refines_the_mask_and_the_edge_of_a_threshold(drawn: Drawn) -> None:
    pytest.importorskip("pymatting")
    hard = np.asarray(render(drawn.image, drawn.soft_map, RenderOptions(mask=True, threshold=0.5))) / 255
    refined = render(drawn.image, drawn.soft_map, RenderOptions(mask=True, threshold=0.5, matting=True))
    assert refined.mode == "L"
    edge = (drawn.soft_map > 0.35) & (drawn.soft_map < 0.65)  # the margin is 1.6 pixels here
    error, before = (np.abs(alpha - drawn.alpha)[edge].mean() for alpha in (np.asarray(refined) / 255, hard))
    assert error < before
    far = (drawn.soft_map < 0.1) | (drawn.soft_map > 0.9)
    assert np.array_equal(np.asarray(refined)[far] / 255, hard[far])


def test_own_transparency_and_metadata_are_kept(drawn: Drawn) -> None:
    pytest.importorskip("pymatting")
    photo = drawn.image.convert("RGBA")
    own = np.full((160, 160), 255, np.uint8)
    own[:, :80] = 100
    photo.putalpha(Image.fromarray(own))
    photo.info["exif"] = b"Exif"
    result = render(photo, drawn.soft_map, RenderOptions(matting=True))
    assert (result.mode, result.info["exif"]) == ("RGBA", b"Exif")
    pixels = np.asarray(result)
    assert pixels[..., 3][:, :80].max() == 100
    assert pixels[..., 3][:, 80:].max() == 255
    visible = pixels[..., 3] > 0
    visible[:, 80:] = False
    assert np.array_equal(pixels[visible][:, :3], np.asarray(drawn.image)[visible])
