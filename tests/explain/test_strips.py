"""Pictures as tables: what is drawn comes back, small, and text is text."""

from __future__ import annotations

import base64
import io

import numpy as np
import pandas as pd

from deepcompress.explain import strips
from deepcompress.explain.attention import Attention
from deepcompress.explain.models import Pair

TEACHER, STUDENT = "teachers/vgg16", "students/logit-vgg16"


def decoded(text: str, *shape: int) -> np.ndarray:
    assert text.startswith(strips.BYTES)
    return np.frombuffer(base64.b64decode(text.removeprefix(strips.BYTES)), np.uint8).reshape(shape)


def test_pixels_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    rows = strips.images(pixels, ["ant", "bee"])
    table = pd.read_csv(io.StringIO(pd.DataFrame(rows).to_csv(index=False)))
    assert table["class"].tolist() == ["ant", "bee"]
    for row, expected in zip(table.to_dict("records"), pixels, strict=True):
        assert np.array_equal(decoded(row["pixels"], row["side"], row["side"], 3), expected)


def test_large_pictures_are_thinned_out() -> None:
    (row,) = strips.images(np.zeros((1, 224, 224, 3), np.uint8), ["ant"])
    assert row["side"] == 56
    assert decoded(row["pixels"], 56, 56, 3).max() == 0


def test_each_teacher_s_own_map_stands_before_its_students() -> None:
    maps = np.random.default_rng(0).random((2, 6, 16, 16)).astype(np.float32)
    seen = Attention("block3", {TEACHER: maps[0], STUDENT: maps[1]})
    rows = strips.maps(seen, [Pair(STUDENT, TEACHER)], np.array([1, 4]), window=7)
    assert [(row["model"], row["image"]) for row in rows] == [(TEACHER, 0), (TEACHER, 1), (STUDENT, 0), (STUDENT, 1)]
    assert [row["ssim"] is None for row in rows] == [True, True, False, False]
    drawn = decoded(rows[3]["map"], 16, 16)
    assert np.abs(drawn / 255 - maps[1][4]).max() < 0.5 / 255 + 1e-6
