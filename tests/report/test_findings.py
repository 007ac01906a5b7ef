"""Sentences made of numbers: each is checked against the numbers it was made of."""

from __future__ import annotations

import dataclasses

import pandas as pd

from deepcompress.report import findings
from deepcompress.report.tables import Tables


def test_the_smallest_good_model_makes_the_title(data: Tables) -> None:
    assert findings.of_all(data) == "combined/prune_quantize is 6.6× smaller at −0.8 points to the baseline (n = 1,000)"


def test_no_good_model_is_said_so(data: Tables) -> None:
    strict = dataclasses.replace(data, params={"deploy": {"max_drop_points": -5}})
    assert findings.of_all(strict).startswith("No smaller model stays within -5 points")


def test_a_difference_within_its_interval_is_not_called_a_gain(data: Tables) -> None:
    sentence = findings.of_models(data.of("quantized"), data)
    assert sentence == (
        "ptq-int8 is the smallest that loses at most 1 point on validation images: 3.9× smaller; on held-out images "
        "−0.2 points (95 % interval −1.3 to +0.9, no significant difference) to the baseline."
    )


def test_one_training_each_is_called_neither_a_gain_nor_a_loss_and_has_no_interval(single: Tables) -> None:
    rows = single.models[single.models["model"] == "combined/prune_quantize"]
    assert findings.of_models(rows, single).endswith(
        "6.6× smaller; on held-out images −0.8 points (not tested: one training each) to the baseline."
    )


def test_a_fine_tuned_model_is_held_against_its_control_as_well(data: Tables) -> None:
    row = data.models.set_index("model", drop=False).loc["pruned/unstructured-0.25"]
    assert findings.change(row) == (
        "+0.1 points (95 % interval over seeds −1.0 to +1.2, no significant difference) to the baseline, −0.1 points "
        "(95 % interval over seeds −1.2 to +1.0, no significant difference) to pruned/unstructured-0.0, trained as long"
    )


def test_the_choice_is_made_on_validation_images_whatever_held_out_ones_say(data: Tables) -> None:
    rows = data.models[data.models["model"].isin(["pruned/structured-0.5", "pruned/structured-0.25"])]
    sentence = findings.of_models(rows, data)
    assert sentence.startswith("structured-0.5 is the smallest that loses at most 1 point on validation images")
    assert "on held-out images −3.1 points (95 % interval over seeds −4.2 to −2.0) to the baseline" in sentence
    unseen = dataclasses.replace(data, extra={})
    assert "was measured on validation images, so none is chosen" in findings.of_models(rows, unseen)


def test_a_family_that_is_larger_is_not_called_smaller(data: Tables) -> None:
    sentence = findings.of_models(data.of("teachers"), data)
    assert sentence.startswith("None that loses at most 1 point on validation images is smaller; vgg16 is best there")


def test_training_is_summed_up_by_its_last_epoch() -> None:
    runs = pd.DataFrame(
        {"family": "a", "model": ["a/x"] * 2 + ["a/y"] * 2, "epoch": [1, 2] * 2, "validation_top1_pct": [9, 50, 8, 60]}
    )
    assert findings.of_training(runs) == "a: 2 runs end between 50.0 and 60.0 % on validation images"
    assert findings.of_training(runs.head(2)) == "a/x: 50.0 % on validation images after 2 epochs"


def test_classes_are_summed_up_by_their_ends() -> None:
    rows = pd.DataFrame({"model": ["baseline"] * 3, "class": ["cat", "dog", "cow"], "top1_pct": [50.0, None, 90.0]})
    assert findings.of_classes(rows) == "baseline: from 50 % (cat) to 90 % (cow)"


def test_a_family_that_loses_too_much_says_what_is_best(data: Tables) -> None:
    rows = data.models[data.models["model"].isin(["quantized/ptq-int4", "pruned/unstructured-0.75"])]
    sentence = findings.of_models(rows, data)
    assert sentence.startswith("None loses at most 1 point on validation images; unstructured-0.75 is best there; on")
