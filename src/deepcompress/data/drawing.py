"""Paint one scene, a textured object before a cluttered background, and say which pixels the object covers.

The plane runs from -1 to 1 in both directions whatever the image's side, so a scene looks the same at every
size. Edges are smooth: a signed distance in pixels (negative inside) becomes the covered share of a pixel.

Source: the distance functions follow I. Quilez, https://iquilezles.org/articles/distfunctions2d/.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Bool, Float32, UInt8


@dataclass(frozen=True)
class Look:
    """What the object is: which shape and texture, where, how large, how turned; colours are RGB in 0..1."""

    shape: str
    texture: str
    centre: Float32[np.ndarray, " xy"]
    radius: float
    angle: float
    texture_angle: float
    texture_phase: Float32[np.ndarray, " xy"]
    texture_period: float
    colours: Float32[np.ndarray, "2 3"]


@dataclass(frozen=True)
class Backdrop:
    """What lies behind the object: a colour gradient with smooth noise on it, soft blobs and hard strokes.

    Attributes:
        ends: The gradient's two colours, reached at -1 and 1 along `angle`.
        angle: Direction of the gradient in radians.
        noise: Coarse grid of colour offsets, interpolated over the image.
        blobs: Rows of centre x, y, width, colour.
        strokes: Rows of start x, y, end x, y, half width, colour.
    """

    ends: Float32[np.ndarray, "2 3"]
    angle: float
    noise: Float32[np.ndarray, "cells cells 3"]
    blobs: Float32[np.ndarray, "blobs 6"]
    strokes: Float32[np.ndarray, "strokes 8"]


def paint_backdrop(backdrop: Backdrop, size: int) -> Float32[np.ndarray, "size size 3"]:
    """The background alone."""
    x, y = _plane(size)
    along = 0.5 + 0.5 * (np.cos(backdrop.angle) * x + np.sin(backdrop.angle) * y)
    first, last = backdrop.ends
    canvas = first + along[..., None] * (last - first)
    weights = _interpolation(size, len(backdrop.noise))
    canvas += np.einsum("wj,hjc->hwc", weights, np.einsum("hi,ijc->hjc", weights, backdrop.noise))
    for blob in backdrop.blobs:
        squared = (x - blob[0]) ** 2 + (y - blob[1]) ** 2
        _blend_(canvas, blob[3:], np.exp(-squared / (2 * blob[2] ** 2)))
    for stroke in backdrop.strokes:
        _blend_(canvas, stroke[5:], _covered(_segment(x, y, stroke[:4]) - stroke[4], 2 / size))
    return canvas


def cover(look: Look, size: int) -> Float32[np.ndarray, "size size"]:
    """Share of each pixel that the object covers, 0..1."""
    x, y = _turned(look, size, look.angle)
    distance = SHAPES[look.shape](x / look.radius, y / look.radius) * look.radius
    return _covered(distance, 2 / size)


def paint_object(look: Look, size: int) -> Float32[np.ndarray, "size size 3"]:
    """The object's colours on the whole plane, still to be cut out with `cover`."""
    x, y = _turned(look, size, look.texture_angle)
    u, v = x / look.texture_period + look.texture_phase[0], y / look.texture_period + look.texture_phase[1]
    share = TEXTURES[look.texture](u, v, 2 / size / look.texture_period)
    first, second = look.colours
    return first + share[..., None] * (second - first)


def compose(
    look: Look, backdrop: Backdrop, size: int
) -> tuple[Float32[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """The object before its background, and the pixels of which it covers at least half."""
    canvas, covered = paint_backdrop(backdrop, size), cover(look, size)
    canvas += covered[..., None] * (paint_object(look, size) - canvas)
    return canvas, covered >= 0.5


def to_bytes(canvas: Float32[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Colours in 0..1 as bytes, rounded; what lies outside is clipped."""
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)


@cache
def _plane(size: int) -> tuple[Float32[np.ndarray, "size size"], Float32[np.ndarray, "size size"]]:
    ticks = ((np.arange(size) + 0.5) * (2 / size) - 1).astype(np.float32)
    x, y = np.meshgrid(ticks, ticks)
    return x, y


@cache
def _interpolation(size: int, cells: int) -> Float32[np.ndarray, "size cells"]:
    """Weights of linear interpolation from `cells` points to `size` pixels, ends on ends."""
    at = np.linspace(0, cells - 1, size)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)


def _turned(look: Look, size: int, angle: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = _plane(size)
    x, y = x - look.centre[0], y - look.centre[1]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cosine * x + sine * y, cosine * y - sine * x


def _covered(distance: np.ndarray, pixel: float) -> np.ndarray:
    return np.clip(0.5 - distance / pixel, 0, 1)


def _blend_(canvas: np.ndarray, colour: np.ndarray, share: np.ndarray) -> None:
    canvas += share[..., None] * (colour - canvas)


def _segment(x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Distance to the line from ends[:2] to ends[2:]."""
    x, y = x - ends[0], y - ends[1]
    along_x, along_y = ends[2] - ends[0], ends[3] - ends[1]
    share = np.clip((x * along_x + y * along_y) / (along_x**2 + along_y**2 + 1e-6), 0, 1)
    return np.hypot(x - share * along_x, y - share * along_y)


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 0.92


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(x), np.abs(y)) - 0.82


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Equilateral; its corners lie 1.3 from the middle, its sides half of that."""
    return np.maximum(np.abs(x) * np.float32(np.sqrt(3) / 2) - y / 2, y) - 0.65


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points: one wedge of 36 degrees, from a tip (1.28, 0) to an inner corner, folded out ten times."""
    tip, inner, wedge = 1.28, 0.58, np.pi / 5
    length, turn = np.hypot(x, y), np.abs(np.mod(np.arctan2(y, x), np.float32(2 * wedge)) - np.float32(wedge))
    normal = np.array([inner * np.sin(wedge), tip - inner * np.cos(wedge)], np.float32)
    normal /= np.hypot(*normal)
    return (length * np.cos(turn) - tip) * normal[0] + length * np.sin(turn) * normal[1]


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.maximum(x, y) - 1.12, np.minimum(x, y) - 0.38)


def _plain(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return np.zeros_like(u)


def _stripes(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _covered(np.abs(u - np.floor(u) - 0.5) - 0.25, pixel)


def _checks(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return 0.5 + 2 * (_stripes(u, v, pixel) - 0.5) * (_stripes(v, u, pixel) - 0.5)


def _dots(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _covered(np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5) - 0.3, pixel)


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}
"""Signed distance of each shape of radius one, about equal in area."""

TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "plain": _plain,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
}
"""Share of the second colour of each texture of period one, given a pixel's side in periods."""
