"""The embedded data set: 20 classes of drawn objects, a shape times a texture, that need no download.

Hues, sizes, turns, places and backgrounds are random and tell nothing of the class, so raw pixels do not
separate the classes (a linear classifier: about 10 % top-1) and a small convolutional net does, most of the
time. Every image has a random stream of its own, keyed by (seed, split, index): any image can be drawn alone,
in any order, together with its object's mask.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field

from deepcompress.data.drawing import SHAPES, TEXTURES, Backdrop, Look, compose, to_bytes
from deepcompress.data.store import Part, Source
from deepcompress.params import Section

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Bool, Float32, UInt8

CLASSES = tuple(f"{shape}_{texture}" for shape in SHAPES for texture in TEXTURES)
SPLITS = ("train", "test")

# The difficulty, in half sides of the image and in parts of the brightness range.
RADIUS = (0.46, 0.76)
CONTRAST = (0.18, 0.34)
SATURATION = 0.35
SMOOTH_NOISE = 0.07
PIXEL_NOISE = 0.04
BLOBS = 2
STROKES = 2


class Options(Section):
    """How many images of each class to draw."""

    train_per_class: int = Field(default=200, ge=2, le=50_000)
    test_per_class: int = Field(default=50, ge=1, le=10_000)


def load(options: Options, *, stored_size: int, seed: int, workspace: Path) -> Source:
    """The data set at one image size; images are drawn as they are read, and the workspace stays unused."""

    def part(split: str, per_class: int) -> Part:
        labels = np.arange(per_class * len(CLASSES), dtype=np.int64) % len(CLASSES)
        return Part(labels=labels, read=partial(_image, split=split, size=stored_size, seed=seed))

    train, test = part("train", options.train_per_class), part("test", options.test_per_class)
    return Source(
        classes=CLASSES,
        train=train,
        test=test,
        origin={"source": "shapes", "seed": str(seed), "checksum": _fingerprint(train)},
    )


def draw(
    index: int, *, split: str, size: int, seed: int
) -> tuple[UInt8[np.ndarray, "size size 3"], Bool[np.ndarray, "size size"]]:
    """One image and the mask of its object.

    Args:
        index: Its place in the split; its class is `CLASSES[index % 20]`.
        split: `train` or `test`; the two never share a random stream.
        size: Side in pixels; the scene is the same at every size, only the pixel noise is not.
        seed: Of the whole data set.

    Returns:
        The image, and true for each pixel of which the object covers at least half.

    Raises:
        ValueError: If there is no such split.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}")
    random = np.random.default_rng([seed, SPLITS.index(split), index])
    look, backdrop = scene(index, random)
    canvas, mask = compose(look, backdrop, size)
    canvas += PIXEL_NOISE * random.standard_normal(canvas.shape, dtype=np.float32)
    return to_bytes(canvas), mask


def scene(index: int, random: np.random.Generator) -> tuple[Look, Backdrop]:
    """What to paint for an image of class `CLASSES[index % 20]`; the same for every side of the image.

    The background is the darkest, the object's first colour the lightest: with the levels shuffled, so that
    an edge may have either sign, a small VGG learns the shapes too slowly for a quick baseline.
    """
    contrast = random.uniform(*CONTRAST)
    light_and_mid = _colours(random, np.array([0.5 + contrast, 0.5]))
    look = _look(CLASSES[index % len(CLASSES)], light_and_mid, random)
    return look, _backdrop(0.5 - contrast, random)


def _image(index: int, *, split: str, size: int, seed: int) -> UInt8[np.ndarray, "size size 3"]:
    return draw(index, split=split, size=size, seed=seed)[0]


def _fingerprint(part: Part) -> str:
    """Checksum of the first image of each class: changes with the seed, the size and the drawing code."""
    digest = hashlib.sha256()
    for index in range(len(CLASSES)):
        digest.update(part.read(index).tobytes())
    return f"sha256:{digest.hexdigest()}"


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
    def clutter(count: int, *columns: tuple[float, float]) -> np.ndarray:
        """Rows of numbers, each from its column's range, with a colour behind them."""
        low, high = np.array(columns).T
        numbers = random.uniform(low, high, (count, len(columns)))
        colours = _colours(random, random.uniform(0.1, 0.9, count))
        return np.concatenate([numbers, colours], axis=1).astype(np.float32)

    place = (-1.0, 1.0)
    return Backdrop(
        ends=_colours(random, level + random.uniform(-0.08, 0.08, 2)),
        angle=random.uniform(0, 2 * np.pi),
        noise=(SMOOTH_NOISE * random.standard_normal((6, 6, 3))).astype(np.float32),
        blobs=clutter(BLOBS, place, place, (0.1, 0.3)),
        strokes=clutter(STROKES, place, place, place, place, (0.02, 0.06)),
    )


def _colours(random: np.random.Generator, levels: np.ndarray) -> Float32[np.ndarray, "levels 3"]:
    """A colour of random hue for each grey level: the level plus a step at a right angle to the grey axis."""
    hue = random.uniform(0, 2 * np.pi, (len(levels), 1)) + np.array([0, 2, 4]) * np.pi / 3
    saturation = SATURATION * random.uniform(0, 1, (len(levels), 1))
    return (np.reshape(levels, (-1, 1)) + saturation * np.cos(hue)).astype(np.float32)
