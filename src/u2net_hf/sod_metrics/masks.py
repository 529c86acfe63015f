"""What the pixels of a mask mean: one rule for corpora, training, weight maps and measures.

1. Floats in [0, 1] are a soft mask; other floats must be whole numbers and are read as such.
2. One value: black (0) is background everywhere, any other is object everywhere.
3. Two values, of whatever size or color: the darker one is background, the other one object.
4. More gray values: a soft mask if black and white (255; 65535 in 16 bits) both occur with at least four levels
   between, one of them above the middle, as smoothed edges, JPEG and gray levels of certainty have. An object is
   then what lies above 128 of 255, as in the papers' evaluation tool. What holds fewer levels, or no white, may be
   a mask of classes (0, 1, 2; 0, 15, 255), and is refused with its values.
5. More colors are refused with their names. Colors are compared by their luma (ITU-R BT.601).
6. A picture with transparent pixels: its alpha is the mask, also of a cut-out. Where its colors are a mask of two gray
   values that says something else, it is refused.

`object_values` says which values are object and replaces rules 2 to 6: numbers (gray values, or indices of a palette
with colors) and ranges of them such as "129-255", colors such as "#c08080", or "alpha". All else is background.

The rule is for masks as they are stored, not for parts of them: a part may lack black or white.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

OBJECT_ABOVE = 128
SOFT_LEVELS = 4
LISTED_VALUES = 12


def interpret_mask(mask: Any, object_values: Sequence[str | int] | None = None) -> NDArray[np.uint8]:
    """Read a mask by the rule above.

    Args:
        mask: A PIL image of any mode, or an array `(H, W)`: bool, integers, or floats in [0, 1].
        object_values: Which values are object, instead of the rule.

    Returns:
        `np.ndarray`: uint8 `(H, W)`, 0 = background, 255 = object; levels between only of soft masks.

    Raises:
        ValueError: If the rule cannot tell what is object; the message lists the values that were found.
    """
    if not hasattr(mask, "getbands"):
        return _interpret_gray(np.asarray(mask), object_values)
    if mask.has_transparency_data:
        mask = mask.convert("RGBA")
        alpha = np.asarray(mask.getchannel("A"))
        mask = mask.convert("RGB")
        if alpha.min() < 255 and (not object_values or "alpha" in object_values):
            return _interpret_gray(alpha, None) if object_values else _interpret_alpha(alpha, mask)
    values, colors = read_values(mask)
    return (
        _interpret_gray(values, object_values) if colors is None else _interpret_colors(values, colors, object_values)
    )


def read_values(picture: Any) -> tuple[NDArray[Any], dict[int, str] | None]:
    """The values of a picture without transparency.

    Returns:
        Values `(H, W)`: gray values and `None`, indices of a palette and their colors ("#rrggbb"), or, for pictures
        with colors and no palette, 24-bit numbers 0xrrggbb and their colors.
    """
    if picture.mode == "1":
        return np.asarray(picture, np.uint8), None
    if picture.mode == "P":
        indices = np.asarray(picture)
        stored = picture.getpalette("RGB") or []
        palette = np.pad(np.array(stored, np.uint8), (0, 768 - len(stored))).reshape(256, 3)  # not stored is black
        used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
        if (palette[used] == palette[used, :1]).all():
            return palette[indices, 0], None
        return indices, {int(index): f"#{palette[index].tobytes().hex()}" for index in used}
    if picture.mode in ("L", "F") or picture.mode.startswith("I"):
        return np.asarray(picture), None
    channels = np.asarray(picture.convert("RGB"))
    if (channels == channels[..., :1]).all():
        return channels[..., 0], None
    packed = channels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed, {int(value): f"#{value:06x}" for value in np.unique(packed)}


def _interpret_gray(values: NDArray[Any], object_values: Sequence[str | int] | None) -> NDArray[np.uint8]:
    if values.dtype == np.bool_:
        values = values.view(np.uint8) != 0  # the bytes of a bool array that Pillow made are 0 and 255, not 0 and 1
        return values * np.uint8(255)
    if values.dtype.kind not in "iuf":
        raise TypeError(f"a mask must be bool, integers or floats in [0, 1], got {values.dtype}")
    darkest, lightest = values.min(), values.max()  # both are NaN if any value is
    if np.isnan(darkest):
        raise ValueError("the mask has NaN values")
    if darkest < 0:
        raise ValueError(f"a mask has no negative values, got {darkest}")
    if object_values:
        return _chosen(values, {}, object_values)
    if values.dtype.kind == "f":
        if lightest <= 1:
            return np.rint(values * 255).astype(np.uint8)
        if (values != np.rint(values)).any():
            raise ValueError(f"a mask of floats must lie in [0, 1] or hold whole numbers, got up to {lightest}")
    if darkest == lightest:
        return np.full(values.shape, 255 if lightest else 0, np.uint8)
    light = values == lightest
    if np.count_nonzero(light) + np.count_nonzero(values == darkest) == values.size:
        return light * np.uint8(255)
    levels, white = np.unique(values), 255 if lightest <= 255 else 65535
    between = levels[(levels > 0) & (levels < white)]
    if darkest == 0 and lightest == white and len(between) >= SOFT_LEVELS and between[-1] > white // 2:
        return values if values.dtype == np.uint8 else np.rint(values / (white / 255)).astype(np.uint8)
    hint = '; where gray is certainty, "129-255"' if lightest == 255 else ""
    raise _unclear((f"{level:g}" for level in levels), len(levels), hint)


def _interpret_colors(
    values: NDArray[Any], colors: dict[int, str], object_values: Sequence[str | int] | None
) -> NDArray[np.uint8]:
    if object_values:
        return _chosen(values, colors, object_values)
    distinct = set(colors.values())
    if len(distinct) > 2:
        by_index = values.dtype == np.uint8  # of a palette
        names = (f"{value} ({color})" if by_index else color for value, color in colors.items())
        raise _unclear(names, len(colors))
    light = max(distinct, key=_luma)
    return np.isin(values, [value for value, color in colors.items() if color == light]) * np.uint8(255)


def _interpret_alpha(alpha: NDArray[np.uint8], picture: Any) -> NDArray[np.uint8]:
    result = _interpret_gray(alpha, None)
    values, colors = read_values(picture)
    levels = np.unique(values) if colors is None else np.empty(0)
    if len(levels) == 2 and ((values == levels[1]) != (result > OBJECT_ABOVE)).any():
        raise ValueError(
            "the mask has transparent pixels, and its gray values say something else than its alpha: name what is "
            f"object (--object_values alpha, or --object_values {levels[1]})"
        )
    return result


def _chosen(values: NDArray[Any], colors: dict[int, str], object_values: Sequence[str | int]) -> NDArray[np.uint8]:
    """Where the values are among those that were named."""
    ranges, named = parse_object_values(object_values)
    if colors and values.dtype != np.uint8 and ranges:
        raise ValueError(
            f"the mask has the colors {_list(colors.values(), len(colors))}: name colors as object, such as "
            f'"{max(colors.values(), key=_luma)}", not numbers'
        )
    chosen = np.isin(values, [value for value, color in colors.items() if color in named])
    for low, high in ranges:
        chosen |= (values >= low) & (values <= high)
    return chosen * np.uint8(255)


def parse_object_values(object_values: Iterable[str | int]) -> tuple[list[tuple[int, int]], set[str]]:
    """Ranges of numbers (both ends included) and colors out of values such as "15", "129-255", "#c08080", "alpha".

    Raises:
        ValueError: If one is none of these.
    """
    ranges, colors = [], set()
    for text in map(str, object_values):
        low, _, high = text.partition("-")
        if low.isdecimal() and (high or low).isdecimal():
            ranges.append((int(low), int(high or low)))
        elif len(text) == 7 and text[0] == "#" and set(text[1:].lower()) <= set("0123456789abcdef"):
            colors.add(text.lower())
        elif text != "alpha":
            raise ValueError(
                f'object_values: {text!r} is no number (15), range (129-255), color ("#c08080") or "alpha"'
            )
    return ranges, colors


def _unclear(names: Iterable[str], count: int, hint: str = "") -> ValueError:
    return ValueError(
        f"the mask holds {count} values, {_list(names, count)}, and nothing says which are object: name them "
        f"(--object_values in the scripts, object_values of load_corpus, mask == value for arrays{hint}), or train on "
        "them as classes (--num_labels)"
    )


def _list(names: Iterable[str], count: int) -> str:
    listed = [name for name, _ in zip(names, range(LISTED_VALUES), strict=False)]
    return ", ".join(listed) + (", ..." if count > LISTED_VALUES else "")


def _luma(color: str) -> int:
    red, green, blue = bytes.fromhex(color[1:])
    return 299 * red + 587 * green + 114 * blue
