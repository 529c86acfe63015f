"""HCE, human correction effort: how many clicks it would take a person to turn the binary map into the mask.

Qin et al., "Highly Accurate Dichotomous Image Segmentation", ECCV 2022, section 5, as in the published code, of which
PySODMetrics' is a copy: wrong regions that a person would not bother with are left out (within `RELAX` pixels of the
borders), except where the mask's skeleton is lost; a region that touches nothing right costs one click, others one for
each vertex of the polygon along their border with what is right.

That code takes contours (Suzuki and Abe, "Topological structural analysis of digitized binary images by border
following", 1985) and polygons (Douglas and Peucker, 1973) from OpenCV, on whose order and ties the number depends.
Both are written out here as OpenCV has them since 4.13, so that it is not needed. Until 4.12, and so in the tables of
the paper, it measured the distance to the prolonged line, which gives a few vertices more or less.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from .pair import Pair

RELAX = 5
EPSILON = 2.0
Mask = NDArray[np.bool_]
Point = tuple[int, int]
"""Row and column."""

# Steps to the eight neighbors, from the right counter-clockwise.
STEPS: tuple[Point, ...] = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))
RIGHT, LEFT = 0, 4
FRAME = 1  # the number of the image's frame, around which is nothing; 0 and 1 are pixels that no border has passed


def hce(pair: Pair, threshold: float = 0.5) -> float:
    """Human correction effort of the binary map: clicks, 0 is best (Qin et al., ECCV 2022).

    It grows with the size of the image: compare maps at the size of their masks. Needs SciPy and scikit-image.
    """
    from scipy import ndimage
    from skimage.morphology import skeletonize

    mask, predicted = pair.mask, pair.binarise(threshold)
    right, extra, missing = mask & predicted, predicted & ~mask, mask & ~predicted
    thick = ndimage.binary_erosion(mask | predicted, iterations=RELAX, border_value=1)
    extra = extra & ndimage.binary_dilation(extra & thick, iterations=RELAX, mask=~mask)
    missing = missing & ndimage.binary_dilation(missing & thick, iterations=RELAX, mask=~predicted)
    missing |= skeletonize(mask) & ~right
    return float(_clicks(extra, right | missing) + _clicks(missing, ~(right | extra | missing)))


def _clicks(wrong: Mask, beside: Mask) -> int:
    """Clicks to correct the regions that are wrong: what is right there, is `beside` them."""
    from scipy import ndimage

    beside = ndimage.binary_dilation(beside)
    regions, count = ndimage.label(wrong, np.ones((3, 3)))
    alone, visited, vertices = set(range(1, count + 1)), np.zeros_like(wrong), 0
    for contour in contours(wrong):
        for line in _lines(contour, beside, visited):
            vertices += count_vertices(line)
            alone -= {int(regions[point]) for point in line}
    return vertices + len(alone)


def _lines(contour: Sequence[Point], beside: Mask, visited: Mask) -> list[list[Point]]:
    """The parts of a contour that run beside the right pixels, each pixel in one of them."""
    lines: list[list[Point]] = [[]]
    for point in contour:
        if beside[point] and not visited[point]:
            visited[point] = True
            lines[-1].append(point)
        elif lines[-1]:
            lines.append([])
    lines = [line for line in lines if line]
    if len(lines) > 1 and max(abs(np.subtract(lines[0][0], lines[-1][-1]))) == 1:  # the contour began within a part
        lines[-1] += lines.pop(0)[::-1]
    return lines


def count_vertices(line: Sequence[Point], epsilon: float = EPSILON) -> int:
    """Vertices of the polygon that stays within `epsilon` pixels of an open line, as OpenCV's approxPolyDP has it."""
    points = np.array(line, np.int64)
    ends, kept = [(0, len(points) - 1)], [0]
    while ends:
        first, last = ends.pop()
        distances = _squared_distances(points[first + 1 : last] - points[first], points[last] - points[first])
        if not distances.size or distances.max() <= epsilon**2:
            kept += [last] if last > first else []
        else:
            middle = first + 1 + int(distances.argmax())
            ends += [(middle, last), (first, middle)]
    return _count_without_straight(points[kept], epsilon)


def _squared_distances(points: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    """From each point to the straight line between the origin and `end`, which is another point."""
    length = int(end @ end)
    along = points @ end
    across = points[:, 0] * end[1] - points[:, 1] * end[0]
    nearer_end = np.where(along > length, ((points - end) ** 2).sum(axis=1), across**2 / max(length, 1))
    return np.where(along < 0, (points**2).sum(axis=1), nearer_end)


def _count_without_straight(vertices: NDArray[np.int64], epsilon: float) -> int:
    """Number of vertices less those on almost straight slanted lines, never two in a row."""
    count, start, index = len(vertices), vertices[0], 1
    while index < len(vertices) - 1 and count > 2:
        vertex, end = vertices[index], vertices[index + 1]
        along, before, after = end - start, vertex - start, end - vertex
        distance = abs(int(before[0] * along[1] - before[1] * along[0]))
        if distance**2 <= epsilon**2 / 2 * (along @ along) and along.all() and before @ after >= 0:
            count, start, index = count - 1, end, index + 2
        else:
            start, index = vertex, index + 1
    return count


def contours(mask: Mask) -> Iterable[list[Point]]:
    """Borders of all regions (which hang together by eight neighbors) and of their holes, each pixel by pixel.

    In the order of OpenCV's findContours with RETR_TREE: what begins lower comes first, holes and what is in them
    after what is around them.
    """
    numbers = np.pad(mask.astype(np.int32), 1)
    borders: dict[int, list[Point]] = {}
    is_hole, parents, children = {FRAME: True}, {FRAME: FRAME}, {FRAME: list[int]()}
    inside = numbers[1:-1, 1:-1] > 0
    starts = np.argwhere(inside & ((numbers[1:-1, :-2] == 0) | (numbers[1:-1, 2:] == 0))) + 1
    for row, column in starts.tolist():
        for hole in (False, True):
            value = numbers[row, column]
            begins = (
                value >= 1 and not numbers[row, column + 1] if hole else value == 1 and not numbers[row, column - 1]
            )
            if not begins:
                continue
            passed = numbers[row, : column + (hole and value > 1)]
            around = abs(int(next(iter(passed[(passed != 0) & (passed != 1)][::-1]), FRAME)))
            number = len(is_hole) + 1
            parents[number] = parents[around] if is_hole[around] == hole else around
            is_hole[number], children[number] = hole, []
            children[parents[number]].append(number)
            borders[number] = _follow(numbers, (row, column), hole, number)
            break
    waiting = children[FRAME]
    while waiting:
        number = waiting.pop()
        waiting = waiting + children[number]
        yield [(row - 1, column - 1) for row, column in borders[number]]


def _follow(numbers: NDArray[np.int32], start: Point, hole: bool, number: int) -> list[Point]:
    """Follow a border from its first pixel and write its number there, negative where it passes on the right."""

    def neighbor(point: Point, direction: int) -> Point:
        step = STEPS[direction % 8]
        return point[0] + step[0], point[1] + step[1]

    begin = RIGHT if hole else LEFT
    turns = (direction % 8 for direction in range(begin - 1, begin - 8, -1))
    direction = next((turn for turn in turns if numbers[neighbor(start, turn)]), None)
    if direction is None:
        numbers[start] = -number
        return [start]
    end, point, border = neighbor(start, direction), start, []
    while True:
        came_from = direction
        direction += 1
        while not numbers[neighbor(point, direction)]:
            direction += 1
        if any(turn % 8 == RIGHT for turn in range(came_from + 1, direction)):
            numbers[point] = -number
        elif numbers[point] == 1:
            numbers[point] = number
        border.append(point)
        following = neighbor(point, direction)
        if following == start and point == end:
            return border
        point, direction = following, (direction + 4) % 8
