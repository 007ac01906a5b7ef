"""Numbers as the report writes them, and sentences made of numbers: each checked against what it was made of."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from deepcompress.measure.verdict import Estimate
from deepcompress.report import claims, page, tables, text
from deepcompress.report.tables import Paths, Tables
from deepcompress.report.text import Table
from tests.report import made_up


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (text.number(12345.678), "12,345.7"),
        (text.number(-0.04), "0.0"),
        (text.number(-1.25, 2), "−1.25"),
        (text.number(math.nan), "–"),
        (text.signed(0.31), "+0.3"),
        (text.signed(-0.01), "0.0"),
        (text.signed(math.nan), "–"),
        (text.probability(0.0004), "< 0.001"),
        (text.probability(0.25), "0.250"),
        (text.short(1_234_567), "1.23 M"),
        (text.mib(2.375 * 2**20), "2.38"),
        (text.mib(0.0095 * 2**20), "0.0095"),
        (text.mib(0), "0.00"),
        (text.sample(2000.0), "n = 2,000"),
        (text.smaller(pd.Series({"times_smaller": 3.88})), "3.9× smaller"),
        (text.spanned(Estimate(0.31, -0.2, 0.8), 1, text.signed), "+0.3 (−0.2 to +0.8)"),
        (text.spanned(Estimate(61.2)), "61.2"),
        (text.scientific(1.2e-3), "1.2e−03"),
        (text.digits(1.5e-5), "1.5e−05"),
        (text.digits(0.314), "0.31"),
        (text.short(999_900), "1 M"),
        (text.short(math.nan), "–"),
        (text.times(3.94), "3.9×"),
        (text.times(123.4), "123×"),
        (text.times(0.0278), "0.028×"),
        (text.times(0.0), "0.0×"),
        (text.count(1, "model"), "1 model"),
        (text.count(2, "class"), "2 classes"),
    ],
)
def test_numbers_are_rounded_and_carry_their_unit(written: str, expected: str) -> None:
    assert written == expected


def test_a_difference_carries_its_interval_or_why_there_is_none(data: Tables) -> None:
    assert text.difference(made_up.apart(-1.1, 0.3)) == "−0.4 (−1.1 to +0.3)"
    assert text.difference(Estimate(-0.4)) == "−0.4 (one training each)"
    assert text.difference(Estimate(-0.4, -1.1, 0.3)) == "−0.4 (−1.1 to +0.3)"  # of a table without p
    assert text.difference(data.baseline["difference"]) == "–"


@pytest.mark.parametrize("value", [-0.05, 0.25, 0.35, 1.45])
def test_a_number_reads_the_same_whoever_made_it(value: float) -> None:
    assert text.signed(np.float64(value)) == text.signed(value)
    assert text.number(np.float64(value)) == text.number(value)


@pytest.mark.parametrize("cell", ["–", "9.35", "+0.4 (−0.7 to +1.5)", "3.9×", "2.4 M", "< 0.001", "1,000", "1.5e−05"])
def test_numbers_are_set_flush_right(cell: str) -> None:
    assert Table(("head",), ((cell,), ("1",))).numeric == (True,)


def test_a_value_stands_with_its_interval_or_is_missing() -> None:
    gain = pd.Series(made_up.within("gain", 0.4, 1.5, 0.1))
    assert text.interval(gain, "gain", 2) == "0.40 (−1.10 to 0.50)"
    assert text.interval(gain, "gain", write=text.signed) == "+0.4 (−1.1 to +0.5)"
    assert text.interval(gain.drop("gain"), "gain") == "–"


def test_columns_without_any_value_are_left_out() -> None:
    rows = pd.DataFrame({"model": ["a", "b"], "p": [np.nan, np.nan], "mib": [1.0, np.nan]})
    table = Table.of(rows, {"Model": "model", "p": ("p", 3), "MiB": ("mib", 0)})
    assert (table.columns, table.rows) == (("Model", "MiB"), (("a", "1"), ("b", "–")))


def test_the_smallest_good_model_makes_the_title(data: Tables) -> None:
    assert text.of_all(data) == "combined/prune_quantize is 6.6× smaller at −0.8 points to the baseline (n = 1,000)"


def test_no_good_model_is_said_so(data: Tables) -> None:
    strict = dataclasses.replace(data, params={"deploy": {"max_drop_points": -5}})
    assert text.of_all(strict).startswith("No smaller model stays within -5 points")


LIMIT = "loses at most 1 point on validation images"


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ("quantized/.*", f"ptq-int8 is the smallest that {LIMIT}: 3.9× smaller; on held-out images −0.2 points "
         "(95 % interval −1.3 to +0.9, no significant difference) to the baseline."),
        ("pruned/structured-0.*5", f"structured-0.5 is the smallest that {LIMIT}: 3.4× smaller; on held-out images "
         "−3.1 points (95 % interval over seeds −4.2 to −2.0) to the baseline."),
        ("teachers/.*", f"None that {LIMIT} is smaller; vgg16 is best there; on held-out images +2.9 points "),
        ("quantized/ptq-int4|pruned/unstructured-0.75", f"None {LIMIT}; unstructured-0.75 is best there; on held-out "),
        ("baseline", "No model was compared with the baseline."),
    ],
)  # fmt: skip
def test_models_are_chosen_on_validation_images_and_told_of_by_held_out_ones(
    models: str, said: str, data: Tables
) -> None:
    rows = data.models[data.models["model"].str.fullmatch(models)]
    assert text.of_models(rows, data).startswith(said)
    if models != "baseline":
        unseen = dataclasses.replace(data, extra={})
        assert "was measured on validation images, so none is chosen" in text.of_models(rows, unseen)


def test_trainings_that_came_out_equal_are_called_so_on_the_whole_page(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_up, "SPREAD", 0.0)
    made_up.replicates(made_up.EVERY_FAMILY).to_csv(tmp_path / "replicates.csv", index=False)
    equal = tables.read(dataclasses.replace(paths, replicates=tmp_path / "replicates.csv"))
    rows = equal.models[equal.models["model"] == "combined/prune_quantize"]
    assert text.difference(rows["difference"].iloc[0]) == "−0.8 (the same in all 3 trainings)"
    assert text.of_models(rows, equal).endswith(
        "−0.8 points (not tested: the same in all 3 trainings) to the baseline."
    )
    assert claims.claim(equal, "best combination").judgement == "not tested (the same in all 3 trainings)"
    assert claims.claim(equal, "quarter").judgement == "not tested (the same in all 3 trainings)"
    shown = page.render(page.sections(equal), equal)
    assert "The same in all 3 trainings: what students gain from their teacher is not tested;" in shown
    assert not any("one training" in text.difference(of) for of in equal.differences.values())


def test_a_fine_tuned_model_is_held_against_its_control_as_well(data: Tables) -> None:
    row = data.models.set_index("model").loc["pruned/unstructured-0.25"].copy()
    both = (
        "+0.1 points (95 % interval over seeds −1.0 to +1.2{}) to the baseline, −0.1 points (95 % interval over seeds "
        "−1.2 to +1.0{}) to pruned/unstructured-0.0, trained as long"
    )
    same, other = ", no significant difference", ", not significant beyond 1 point"
    assert text.change(row) == f"{both.format('', '')}; both{same.replace(',', ':')}"
    control = row["to_control"]
    for p, note, said in ((0.9, other.removeprefix(", "), other), (0.01, "", "")):
        row["to_control"] = dataclasses.replace(control, holm_p=p, note=note)
        assert text.change(row) == both.format(same, said)


def test_a_control_with_fewer_trainings_is_not_called_trained_as_long(data: Tables) -> None:
    row = data.models.set_index("model").loc["pruned/unstructured-0.25"].copy()
    assert row["more_trainings"] == 0
    row["more_trainings"] = 1
    assert " to pruned/unstructured-0.0, with 1 training fewer" in text.change(row)
