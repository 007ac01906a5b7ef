"""Attention and other colours come from explain's tables to the rows of their models, and to no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepcompress.errors import UserError
from deepcompress.measure import explained

ATTENTION = """model,teacher,role,ssim
pruned/a,baseline,block3,0.81239
students/hint-vgg16,teachers/vgg16,block3,0.5
students/hint-vgg16,baseline,block3,0.25
students/independent,teachers/vgg16,block3,0.4
students/independent,baseline,block3,
students/hint-vgg16,teachers/vgg16,block4,0.9
"""
COLOUR = """model,n,top1_pct,jittered_top1_pct
baseline,500,90.0,45.0
students/hint-vgg16,500,80.0,41.236
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "attention.csv").write_text(ATTENTION)
    (tmp_path / "colour.csv").write_text(COLOUR)
    return tmp_path


def test_each_model_gets_what_was_found_of_it_at_the_finer_layer(folder: Path) -> None:
    models = ("baseline", "pruned/a", "students/hint-vgg16", "students/independent", "masked/a")
    rows = explained.joined([{"model": model, "n": 7} for model in models], folder)
    assert [list(row) for row in rows] == [["model", "n", *explained.COLUMNS]] * len(models)
    assert [[row[name] for name in explained.COLUMNS] for row in rows] == [
        [None, None, 45.0],
        [0.8124, None, None],
        [0.25, 0.5, 41.24],
        [None, None, None],  # a control has no teacher, and this one's maps were empty
        [None, None, None],
    ]


def test_a_missing_table_and_a_missing_column_are_named(folder: Path) -> None:
    (folder / "colour.csv").write_text("model,n\nbaseline,500\n")
    with pytest.raises(UserError, match=r"colour\.csv: lacks the column jittered_top1_pct; run the explain stage"):
        explained.joined([{"model": "baseline"}], folder)
    (folder / "attention.csv").unlink()
    with pytest.raises(UserError, match=r"attention\.csv: no such file"):
        explained.joined([{"model": "baseline"}], folder)
