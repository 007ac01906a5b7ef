"""Reading the measured tables: what is added, what is refused."""

import dataclasses
import math
from pathlib import Path

import pandas as pd
import pytest

from deepcompress.errors import UserError
from deepcompress.measure import statistics
from deepcompress.report import tables, text
from deepcompress.report.tables import Paths, Tables
from tests.report import made_up

HEADS = ",".join(tables.EVALUATION_COLUMNS) + "\n"


def frame(*rows: tuple[str, int, float]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["model", "size_bytes", "top1_pct"])


def test_rows_of_other_tables_get_the_plan_s_columns_beside_their_own(data: Tables) -> None:
    rows = pd.DataFrame({"model": ["students/dkd-vgg16", "unheard/of"], "teacher": ["baseline", "baseline"]})
    named = data.named(rows).set_index("model")
    assert tuple(named.loc["students/dkd-vgg16", ["family", "method", "name"]]) == ("students", "dkd", "dkd-vgg16")
    assert list(named["teacher"]) == ["baseline", "baseline"]
    assert tuple(named.loc["unheard/of", ["family", "name"]]) == ("unheard/of", "unheard/of")
    assert data.baseline["name"] == "baseline"


def test_pareto_front_of_a_hand_worked_case() -> None:
    models = frame(("big", 9, 90.0), ("small", 1, 70.0), ("beaten", 5, 65.0), ("middle", 5, 80.0), ("twin", 9, 90.0))
    assert list(tables.pareto(models)["model"]) == ["small", "middle", "big"]


def test_the_smallest_within_the_limit_is_chosen_on_validation_images_and_smaller_than_the_baseline(
    data: Tables,
) -> None:
    best = tables.selected(data, data.models)
    assert best is not None
    assert best["model"] == "combined/prune_quantize"
    seen = data.choice.assign(drop_points=data.choice["drop_points"].where(data.choice["model"] != best["model"], 2.0))
    other = tables.selected(dataclasses.replace(data, extra={"recommendation": seen}), data.models)
    assert other is not None
    assert other["model"] == "students/dkd-vgg16"
    assert tables.selected(dataclasses.replace(data, extra={}), data.models) is None
    assert tables.selected(data, data.models[data.models["family"].isin(["teachers", "baseline"])]) is None


def test_differences_are_judged_once_and_have_no_interval_where_chance_is_unknown(data: Tables, single: Tables) -> None:
    trained, rounded = ("students/dkd-vgg16", "baseline"), ("quantized/ptq-int4", "baseline")
    repeated, once = data.differences, single.differences
    assert math.isnan(once[trained].low)
    assert once[trained].phrase == "not tested: one training each"
    assert once[trained].value == pytest.approx(-0.5)
    assert (repeated[trained].low, repeated[trained].high) == pytest.approx((-1.6, 0.6), abs=1e-3)
    assert repeated[trained].phrase == "no significant difference"
    assert (once[rounded].low, once[rounded].high) == pytest.approx((-8.6, -6.4))
    assert once[rounded].phrase == "loss"
    row = single.models.set_index("model").loc[trained[0]]
    assert row["compared_with"] == "students/independent"
    assert row["to_control"] == once[trained[0], "students/independent"]
    assert (row["to_control"].value, row["to_control"].tested) == (pytest.approx(1.7), False)


def test_p_is_corrected_for_all_comparisons_of_the_models_of_a_family(data: Tables) -> None:
    pairs = [("students/" + name, "baseline") for name in data.of("students")["name"]]
    pairs += [pair for pair in made_up.plan(made_up.EVERY_FAMILY).pairs() if pair[0].startswith("students/")]
    found = [data.differences[pair] for pair in pairs]
    first = min(found, key=lambda of: of.p)
    beyond = statistics.p_of_interval(abs(first.value) - 1, (first.high - first.low) / 2, first.freedom)
    assert first.holm_p == pytest.approx(len(found) * beyond)
    assert all(of.holm_p >= of.p for of in found)
    alone = data.differences["students/independent", "baseline"]
    assert alone.high < 0
    assert alone.phrase == f"not significant beyond 1 point after Holm's correction for {len(found)} comparisons"
    assert text.difference(alone) == "−2.2 (−3.3 to −1.1, n.s.)"
    row, interval = data.models.set_index("model").loc["students/independent"], "95 % interval over seeds −3.3 to −1.1"
    assert text.change(row).startswith(f"−2.2 points ({interval}, {alone.phrase}) to the ")


def test_columns_and_families_of_later_techniques_pass_through(tmp_path: Path) -> None:
    paths = made_up.write(tmp_path)
    pd.read_csv(paths.evaluation).assign(attention_ssim=0.3).to_csv(paths.evaluation, index=False)
    read = tables.read(paths)
    assert read.models["attention_ssim"].eq(0.3).all()
    (sculpted,) = (row for _, row in read.models.iterrows() if row["family"] == "sculpted")
    assert text.difference(sculpted["difference"]).endswith(" (no plan knows its family)")


def test_a_table_without_optional_columns_is_enough(tmp_path: Path) -> None:
    paths = made_up.write(tmp_path)
    pd.read_csv(paths.evaluation)[list(tables.EVALUATION_COLUMNS)].to_csv(paths.evaluation, index=False)
    assert tables.read(paths).models["difference"].isna().all()


def test_class_names_that_look_like_numbers_or_nothing_stay_words(tmp_path: Path) -> None:
    paths = made_up.write(tmp_path)
    paths.per_class.write_text("model,class,n,top1_pct\nbaseline,NA,3,50.0\nbaseline,07,0,\n")
    read = tables.read(paths).per_class
    assert list(read["class"]) == ["NA", "07"]
    assert read["top1_pct"].isna().tolist() == [False, True]


def test_the_readme_needs_no_table_that_git_lacks_and_an_empty_history_counts_as_none(tmp_path: Path) -> None:
    paths = made_up.write(tmp_path, made_up.BASELINE)
    (tmp_path / "history" / "baseline.csv").write_text(",".join(tables.HISTORY_COLUMNS) + "\n")
    for given in (paths, dataclasses.replace(paths, history=None, meta=None, pairs=None)):
        assert tables.read(given).history.empty


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("", "damaged table"),
        ("model,family,n\nbaseline,baseline,3\n", "lacks the column top1_pct"),
        (f"{HEADS}pruned/x,pruned,1,1,1,1,1\n", "no row for the model"),
        (f"{HEADS}baseline,baseline,x,1,1,1,1\n", "top1_pct must hold numbers"),
        (HEADS + "baseline,baseline,1,1,1,1,1\n" * 2, "has two rows"),
    ],
)
def test_a_bad_evaluation_table_is_one_clear_line(content: str | None, message: str, tmp_path: Path) -> None:
    paths = made_up.write(tmp_path, made_up.BASELINE)
    paths.evaluation.unlink()
    if content is not None:
        paths.evaluation.write_text(content)
    with pytest.raises(UserError, match=message) as caught:
        tables.read(paths)
    assert str(paths.evaluation) in str(caught.value)


def test_a_further_table_without_rows_has_the_columns_that_are_asked_for(data: Tables) -> None:
    empty = dataclasses.replace(data, extra={"recommendation": pd.DataFrame()})
    assert list(empty.further("benchmark/latency", "model").columns) == ["model"]
    assert list(empty.choice.columns) == list(tables.CHOICE_COLUMNS)


def test_a_further_table_or_note_may_be_a_file_or_lie_in_a_folder(tmp_path: Path) -> None:
    paths = made_up.write(tmp_path, made_up.BASELINE)
    (tmp_path / "more").mkdir()
    (tmp_path / "more/times.csv").write_text("stage,seconds\nplan,1.5\n")
    (tmp_path / "more/machine.json").write_text('{"cores": 2}')
    (tmp_path / "chosen.json").write_text('{"model": "baseline"}')
    data = tables.read(dataclasses.replace(paths, extra=(tmp_path / "more", tmp_path / "chosen.json")))
    assert set(data.extra) == {"more/times"}
    assert data.notes == {"more/machine": {"cores": 2}, "chosen": {"model": "baseline"}}
    with pytest.raises(UserError, match=r"gone\.json: no such file"):
        tables.read(dataclasses.replace(paths, extra=(tmp_path / "gone.json",)))


def test_a_missing_folder_is_named(paths: Paths, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nowhere: no such folder"):
        tables.read(dataclasses.replace(paths, history=tmp_path / "nowhere"))
