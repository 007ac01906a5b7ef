"""The run as a whole: the opening figure, the baseline beside the source report's, curves, classes."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report.sections import details
from deepcompress.report.tables import Tables
from tests.report.sections.looking import column, folded, pictures_of, tables_of, text_of


def test_other_data_is_not_compared_by_its_absolute_accuracy(data: Tables) -> None:
    assert (
        "neither agrees with the source report nor contradicts it"
        in text_of(folded(details.details(data), "baseline"))[0]
    )


@pytest.mark.parametrize(
    ("top1", "verdict"),
    [(61.2, "agree within the error"), (59.7, "agree within the error"), (50.0, "above ours"), (70.0, "below ours")],
)
def test_the_source_report_s_data_is_compared_by_interval(top1: float, verdict: str, data: Tables) -> None:
    names = ["aquarium_fish", "sweet_pepper", "pickup_truck", *(f"class_{i}" for i in range(97))]
    models = data.models.assign(top1_pct=top1, top1_pct_low=top1 - 1, top1_pct_high=top1 + 1)
    theirs = dataclasses.replace(
        data, models=models, per_class=pd.DataFrame({"model": "baseline", "class": names, "n": 10, "top1_pct": 60.0})
    )
    assert verdict in text_of(folded(details.details(theirs), "baseline"))[0]


def test_curves_come_per_family_with_the_baseline_first(data: Tables) -> None:
    names = [picture.name for picture in pictures_of(folded(details.details(data), "training"))]
    assert names[:2] == ["baseline_training", "pruned_training"]


def test_of_many_classes_the_ends_are_shown(data: Tables) -> None:
    (picture,) = pictures_of(folded(details.details(data), "classes"))
    assert len(column(picture, "name")) == 2 * details.ENDS
    assert picture.caption.startswith("The best and the worst 10 of 24 classes")


def test_classes_are_summed_up_by_their_ends_and_one_without_images_is_left_out(data: Tables) -> None:
    rows = pd.DataFrame({"model": "baseline", "class": ["a", "b", "c"], "n": [5, 0, 5], "top1_pct": [60.0, None, 90.0]})
    (picture,) = pictures_of(folded(details.details(dataclasses.replace(data, per_class=rows)), "classes"))
    assert column(picture, "name") == ["c", "a"]
    assert picture.title == "baseline: from 60 % (a) to 90 % (c)"


def test_every_model_and_every_parameter_is_listed(data: Tables) -> None:
    section = details.details(data)
    (models,) = tables_of(folded(section, "overview"))
    assert len(models.rows) == len(data.models)
    listed = {row[0]: row[1] for table in tables_of(folded(section, "provenance")) for row in table.rows}
    assert listed["finetune.learning_rate"] == "0.004"
    assert listed["model.weights"] == "–"
    assert listed["Held-out images"] == "1,000"
    assert listed["baseline.top1_pct"] == "87.3"


def test_training_is_summed_up_by_its_last_epoch() -> None:
    runs = pd.DataFrame(
        {"family": "a", "model": ["a/x"] * 2 + ["a/y"] * 2, "epoch": [1, 2] * 2, "validation_top1_pct": [9, 50, 8, 60]}
    )
    assert details._of_training(runs) == "a: 2 runs end between 50.0 and 60.0 % on validation images"
    assert details._of_training(runs.head(2)) == "a/x: 50.0 % on validation images after 2 epochs"
