"""The embedded data set: 20 classes of drawn objects, a shape times a texture, that need no download.

Hues, sizes, turns, places and backgrounds are random and tell nothing of the class, so raw pixels do not
separate the classes (a linear classifier: about 10 % top-1) and a small convolutional net does, most of the
time. Every image has a random stream of its own, keyed by (seed, split, index): any image can be drawn alone,
in any order, together with its object's mask.

The plane runs from -1 to 1 in both directions whatever the image's side, so a scene looks the same at every
size. Edges are smooth: a signed distance in pixels (negative inside) becomes the covered fraction of a pixel.

Source: the distance functions follow I. Quilez, https://iquilezles.org/articles/distfunctions2d/.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from deepcompress.data.store import Part, Source
from deepcompress.params import Section

if TYPE_CHECKING:
    from jaxtyping import Bool, Float32, UInt8

SPLITS = ("train", "test")

# The difficulty, in half sides of the image and in parts of the brightness range.
RADIUS = (0.46, 0.76)
CONTRAST = (0.26, 0.42)
SATURATION = 0.35
SMOOTH_NOISE = 0.05
PIXEL_NOISE = 0.03


class Options(Section):
    """How many images of each class to draw."""

    train_per_class: int = Field(default=200, ge=2, le=50_000)
    test_per_class: int = Field(default=50, ge=1, le=10_000)


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """The data set at one image size; images are drawn as they are read, and the workspace stays unused."""

    def part(split: str, per_class: int) -> Part:
        labels = np.arange(per_class * len(CLASSES), dtype=np.int64) % len(CLASSES)
        return Part(labels=labels, read=lambda index: draw(index, split=split, size=stored_size, seed=seed)[0])

    train, test = part("train", options.train_per_class), part("test", options.test_per_class)
    firsts = b"".join(train.read(index).tobytes() for index in range(len(CLASSES)))  # follow seed, size and this code
    checksum = f"sha256:{hashlib.sha256(firsts).hexdigest()}"
    return Source(CLASSES, train, test, {"source": "shapes", "seed": str(seed), "checksum": checksum})


def draw(
    index: int, *, split: str, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """Image `index` of a split, of class `CLASSES[index % 20]`, and true where its object covers half a pixel or more.

    Args:
        split: `train` or `test`; the two never share a random stream.
        size: Side in pixels; the scene is the same at every size, only the pixel noise is not.
        seed: Of the whole data set.
    """
    random = np.random.default_rng([seed, SPLITS.index(split), index])
    look, backdrop = scene(index, random)
    canvas, mask = compose(look, backdrop, size)
    canvas += PIXEL_NOISE * random.standard_normal(canvas.shape, dtype=np.float32)
    return (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8), mask


def scene(index: int, random: np.random.Generator) -> tuple[Look, Backdrop]:
    """What to paint for an image of class `CLASSES[index % 20]`; the same for every side of the image.

    The background is the darkest, the object's first colour the lightest: with the levels shuffled, so that
    an edge may have either sign, a small VGG learns the shapes too slowly for a quick baseline.
    """
    contrast = random.uniform(*CONTRAST)
    light_and_mid = _colours(random, np.array([0.5 + contrast, 0.5]))
    look = _look(CLASSES[index % len(CLASSES)], light_and_mid, random)
    return look, _backdrop(0.5 - contrast, random)


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
    """What lies behind the object: a colour gradient with smooth noise on it, a soft blob and a hard stroke."""

    ends: Float32[np.ndarray, "2 3"]  # the gradient's two colours, reached at -1 and 1 along `angle`
    angle: float  # direction of the gradient in radians
    noise: Float32[np.ndarray, "cells cells 3"]  # coarse grid of colour offsets, interpolated over the image
    blob: Float32[np.ndarray, " 6"]  # centre x, y, width, colour
    stroke: Float32[np.ndarray, " 8"]  # start x, y, end x, y, half width, colour


def _look(name: str, colours: Float32[np.ndarray, "2 3"], random: np.random.Generator) -> Look:
    shape, texture = name.split("_")
    radius = random.uniform(*RADIUS)
    room = 1 - radius
    return Look(
        shape=shape,
        texture=texture,
        centre=random.uniform(-room, room, 2).astype(np.float32),
        radius=radius,
        angle=random.uniform(0, 2 * np.pi),
        texture_angle=random.uniform(0, 2 * np.pi),
        texture_phase=random.uniform(0, 1, 2).astype(np.float32),
        texture_period=radius * random.uniform(0.5, 0.62),
        colours=colours,
    )


def _backdrop(level: float, random: np.random.Generator) -> Backdrop:
    def clutter(*ranges: tuple[float, float]) -> np.ndarray:
        """A number from each range, and a colour behind them."""
        numbers = random.uniform(*np.array(ranges).T)
        (colour,) = _colours(random, random.uniform(0.1, 0.9, 1))
        return np.concatenate([numbers, colour]).astype(np.float32)

    place = (-1.0, 1.0)
    return Backdrop(
        ends=_colours(random, level + random.uniform(-0.08, 0.08, 2)),
        angle=random.uniform(0, 2 * np.pi),
        noise=(SMOOTH_NOISE * random.standard_normal((6, 6, 3))).astype(np.float32),
        blob=clutter(place, place, (0.1, 0.3)),
        stroke=clutter(place, place, place, place, (0.02, 0.06)),
    )


def _colours(random: np.random.Generator, levels: np.ndarray) -> Float32[np.ndarray, "levels 3"]:
    """A colour of random hue for each grey level: the level plus a step at a right angle to the grey axis."""
    hue = random.uniform(0, 2 * np.pi, (len(levels), 1)) + np.array([0, 2, 4]) * np.pi / 3
    saturation = SATURATION * random.uniform(0, 1, (len(levels), 1))
    return (np.reshape(levels, (-1, 1)) + saturation * np.cos(hue)).astype(np.float32)


def paint_backdrop(backdrop: Backdrop, size: int) -> Float32[np.ndarray, "size size 3"]:
    """The background alone."""
    x, y = _plane(size)
    along = 0.5 + 0.5 * (np.cos(backdrop.angle) * x + np.sin(backdrop.angle) * y)
    first, last = backdrop.ends
    canvas = first + along[..., None] * (last - first)
    weights = _interpolation(size, len(backdrop.noise))
    canvas += np.einsum("wj,hjc->hwc", weights, np.einsum("hi,ijc->hjc", weights, backdrop.noise))
    blob, stroke = backdrop.blob, backdrop.stroke
    squared = (x - blob[0]) ** 2 + (y - blob[1]) ** 2
    _blend_(canvas, blob[3:], np.exp(-squared / (2 * blob[2] ** 2)))
    _blend_(canvas, stroke[5:], _covered(_segment(x, y, stroke[:4]) - stroke[4], 2 / size))
    return canvas


def cover(look: Look, size: int) -> Float32[np.ndarray, "size size"]:
    """Fraction of each pixel that the object covers, 0..1."""
    x, y = _turned(look, size, look.angle)
    distance = SHAPES[look.shape](x / look.radius, y / look.radius) * look.radius
    return _covered(distance, 2 / size)


def paint_object(look: Look, size: int) -> Float32[np.ndarray, "size size 3"]:
    """The object's colours on the whole plane, still to be cut out with `cover`."""
    x, y = _turned(look, size, look.texture_angle)
    u, v = x / look.texture_period + look.texture_phase[0], y / look.texture_period + look.texture_phase[1]
    fraction = TEXTURES[look.texture](u, v, 2 / size / look.texture_period)
    first, second = look.colours
    return first + fraction[..., None] * (second - first)


def compose(
    look: Look, backdrop: Backdrop, size: int
) -> tuple[Float32[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """The object before its background, and the pixels of which it covers at least half."""
    canvas, covered = paint_backdrop(backdrop, size), cover(look, size)
    canvas += covered[..., None] * (paint_object(look, size) - canvas)
    return canvas, covered >= 0.5


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


def _blend_(canvas: np.ndarray, colour: np.ndarray, fraction: np.ndarray) -> None:
    canvas += fraction[..., None] * (colour - canvas)


def _segment(x: np.ndarray, y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Distance to the line from ends[:2] to ends[2:]."""
    x, y = x - ends[0], y - ends[1]
    along_x, along_y = ends[2] - ends[0], ends[3] - ends[1]
    fraction = np.clip((x * along_x + y * along_y) / (along_x**2 + along_y**2 + 1e-6), 0, 1)
    return np.hypot(x - fraction * along_x, y - fraction * along_y)


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


def _stripes(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _covered(np.abs(u - np.floor(u) - 0.5) - 0.25, pixel)


def _checks(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return 0.5 + 2 * (_stripes(u, v, pixel) - 0.5) * (_stripes(v, u, pixel) - 0.5)


def _dots(u: np.ndarray, v: np.ndarray, pixel: float) -> np.ndarray:
    return _covered(np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5) - 0.3, pixel)


SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disc": lambda x, y: np.hypot(x, y) - 0.92,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.82,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
}
"""Signed distance of each shape of radius one, about equal in area."""

TEXTURES: dict[str, Callable[[np.ndarray, np.ndarray, float], np.ndarray]] = {
    "plain": lambda u, v, pixel: np.zeros_like(u),
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
}
"""Fraction of the second colour of each texture of period one, given a pixel's side in periods."""

CLASSES = tuple(f"{shape}_{texture}" for shape in SHAPES for texture in TEXTURES)
