"""The record of a training."""

from __future__ import annotations

from deepcompress.training.loop import Epoch, History


def made(*top1: float) -> History:
    return History([Epoch(i, 1.5, 0.1, pct, 1.25) for i, pct in enumerate(top1, 1)])


def test_the_best_epoch_is_the_earliest_of_equals():
    assert made(10.0, 30.0, 30.0, 20.0).best().epoch == 2


def test_rows_come_back():
    history = made(10.0, 20.0)
    assert History.from_rows(history.rows()) == history


def test_the_table_has_a_row_per_epoch_and_says_so_even_when_empty():
    names = ["epoch", "train_loss", "learning_rate", "validation_top1_pct", "validation_loss"]
    assert made(10.0, 20.0).frame().to_dict("list") == {
        "epoch": [1, 2],
        "train_loss": [1.5, 1.5],
        "learning_rate": [0.1, 0.1],
        "validation_top1_pct": [10.0, 20.0],
        "validation_loss": [1.25, 1.25],
    }
    assert list(History().frame().columns) == names
