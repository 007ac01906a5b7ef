"""The run as a whole: the opening figure, the baseline beside the source report's, curves, classes."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest

from deepcompress.report.sections import baseline
from deepcompress.report.tables import Tables
from tests.report.sections.looking import pictures_of, tables_of, text_of


def test_the_page_opens_with_the_figure_and_one_table(data: Tables) -> None:
    section = baseline.overview(data)
    assert [picture.name for picture in section.pictures] == ["accuracy_size"]
    opened, folded = tables_of(section)
    assert opened.rows[0][0] == "baseline"
    assert (opened.folded, folded.folded) == ("", "All 28 models")


def test_other_data_is_not_compared_by_its_absolute_accuracy(data: Tables) -> None:
    assert "neither agrees with the source report nor contradicts it" in text_of(baseline.baseline(data))[0]


@pytest.mark.parametrize(
    ("top1", "verdict"), [(61.2, "agree within our 95 % interval"), (50.0, "above it"), (70.0, "below it")]
)
def test_the_source_report_s_data_is_compared_by_interval(top1: float, verdict: str, data: Tables) -> None:
    names = ["aquarium_fish", "sweet_pepper", "pickup_truck", *(f"class_{i}" for i in range(97))]
    models = data.models.assign(top1_pct=top1, top1_pct_low=top1 - 1, top1_pct_high=top1 + 1)
    theirs = dataclasses.replace(data, models=models, per_class=pd.DataFrame({"class": names}))
    assert verdict in text_of(baseline.baseline(theirs))[0]


def test_nothing_trained_means_no_curves(data: Tables) -> None:
    assert baseline.training(dataclasses.replace(data, history=data.history.head(0))) is None


def test_curves_come_per_family_with_the_baseline_first(data: Tables) -> None:
    names = [picture.name for picture in pictures_of(baseline.training(data))]
    assert names[:2] == ["baseline_training", "pruned_training"]


def test_of_many_classes_the_ends_are_shown(data: Tables) -> None:
    (picture,) = pictures_of(baseline.classes(data))
    assert len(picture.figure.axes[0].get_yticks()) == 2 * baseline.ENDS
    assert picture.caption.startswith("The best and the worst 10 of 24 classes")


def test_a_class_without_images_is_left_out(data: Tables) -> None:
    rows = pd.DataFrame({"model": "baseline", "class": ["a", "b"], "n": [5, 0], "top1_pct": [60.0, None]})
    (picture,) = pictures_of(baseline.classes(dataclasses.replace(data, per_class=rows)))
    assert len(picture.figure.axes[0].get_yticks()) == 1
