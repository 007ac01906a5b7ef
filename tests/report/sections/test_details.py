"""The run as a whole: the baseline beside the source report's, curves, classes; where models look."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from deepcompress.report import tables
from deepcompress.report.sections import details
from deepcompress.report.tables import Tables
from tests.report import made_up
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
    models = data.models.assign(top1_pct=top1, top1_pct_low=top1 - 1, top1_pct_high=top1 + 1)
    theirs = made_up.on_cifar100(dataclasses.replace(data, models=models))
    assert verdict in text_of(folded(details.details(theirs), "baseline"))[0]


def test_curves_come_per_family_with_the_baseline_first_and_are_summed_up_by_their_last_epochs(data: Tables) -> None:
    first, second, *_ = pictures_of(folded(details.details(data), "training"))
    assert (first.name, second.name) == ("baseline_training", "pruned_training")
    assert first.title == "baseline: 87.3 % on validation images after 12 epochs"
    assert second.title == "pruned: 5 runs end between 83.9 and 87.5 % on validation images"


def test_of_many_classes_the_ends_are_shown(data: Tables) -> None:
    (picture,) = pictures_of(folded(details.details(data), "classes"))
    assert len(column(picture, "name")) == 2 * details.ENDS
    assert picture.caption.startswith("The best and the worst 10 of 24 classes")


def test_classes_are_summed_up_by_their_ends_and_one_without_images_is_left_out(data: Tables) -> None:
    rows = pd.DataFrame({"model": "baseline", "class": ["a", "b", "c"], "n": [5, 0, 5], "top1_pct": [60.0, None, 90.0]})
    (picture,) = pictures_of(folded(details.details(dataclasses.replace(data, per_class=rows)), "classes"))
    assert column(picture, "name") == ["c", "a"]
    assert picture.title == "baseline: from 60 % (a) to 90 % (c)"


def test_classes_without_a_difference_are_not_ranked(data: Tables) -> None:
    rows = pd.DataFrame({"class": ["a", "b"], "n": 1000, "top1_pct": 100.0})
    best = tables.selected(data, data.candidates)
    assert best is not None
    rows = pd.concat([rows.assign(model=model) for model in ("baseline", best["model"])])
    section = folded(details.details(dataclasses.replace(data, per_class=rows)), "classes")
    assert pictures_of(section)[0].title == "baseline: 100 % in every class"
    assert text_of(section) == [f"{best['model']} against the baseline: no class loses; 1,000 images each."]


def test_every_model_and_every_parameter_is_listed(data: Tables) -> None:
    section = details.details(data)
    (models,) = tables_of(folded(section, "overview"))
    assert len(models.rows) == len(data.models)
    listed = {row[0]: row[1] for table in tables_of(folded(section, "provenance")) for row in table.rows}
    assert listed["finetune.learning_rate"] == "0.004"
    assert listed["model.weights"] == "–"
    assert listed["Held-out images"] == "1,000"
    assert listed["baseline.top1_pct"] == "87.3"


# Attention: by intervals, beside the source report, and nothing where nobody looked.


@pytest.fixture
def with_students(data: Tables) -> Tables:
    """The same, and two students that look elsewhere, of which `dkd-vgg16` is the more accurate."""
    tables = {}
    for name in ("attention", "colour", "strips"):
        rows = data.extra[f"explain/{name}"]
        last = rows[rows["model"] == "pruned/structured-0.25"]
        news = {"ssim": 0.21, "ssim_low": 0.19, "ssim_high": 0.7} if name == "attention" else {}
        more = [
            last.assign(model=f"students/{student}", **news, **({"top1_pct": top1} if name == "colour" else {}))
            for student, top1 in (("dkd-vgg16", 92.0), ("independent", 91.0))
        ]
        tables[f"explain/{name}"] = pd.concat([rows, *more], ignore_index=True)
    return made_up.with_tables(data, tables)


def sentence(data: Tables, start: str) -> str:
    """The paragraph that starts so; empty without any."""
    return next((words for words in text_of(details.attention(data)) if words.startswith(start)), "")


def test_of_students_the_most_accurate_is_drawn(with_students: Tables) -> None:
    strip, picture = pictures_of(details.attention(with_students))
    compressed = ["pruned/unstructured-0.25", "pruned/structured-0.25", "quantized/ptq-int8"]
    for drawing, first in ((strip, ["image", "baseline"]), (picture, [])):
        assert column(drawing, "name") == [*first, *compressed, "students/dkd-vgg16"]


def test_maps_are_drawn_in_their_own_order_whatever_the_plan_s(with_students: Tables) -> None:
    maps = with_students.extra["explain/strips"].iloc[::-1]
    turned = made_up.with_tables(with_students, {"explain/strips": maps})
    drawn = [pictures_of(details.attention(data))[0] for data in (with_students, turned)]
    assert column(drawn[0], "name") == column(drawn[1], "name")


def test_the_finding_is_about_compressed_models_alone_and_names_both_ends(data: Tables, with_students: Tables) -> None:
    titles = [pictures_of(details.attention(found))[-1].title for found in (data, with_students)]
    assert set(titles) == {
        "quantized/ptq-int8 looks most like the baseline (SSIM 0.99), pruned/structured-0.25 least (0.60; n = 190)"
    }


def test_models_above_another_training_are_counted_by_intervals(data: Tables, with_students: Tables) -> None:
    assert sentence(with_students, "A network trained apart") == (
        "A network trained apart from the baseline, students/independent, comes to SSIM 0.21 (0.19 to 0.70); "
        "2 of 3 compressed models lie above that, intervals over images apart."
    )
    assert sentence(data, "A network trained apart") == ""
    controls = with_students.models["model"] == "pruned/unstructured-0.25"
    models = with_students.models.assign(times_smaller=with_students.models["times_smaller"].mask(controls, 1.0))
    assert " of 2 compressed models " in sentence(dataclasses.replace(with_students, models=models), "A network")


def test_a_single_compressed_model_is_no_range(data: Tables) -> None:
    others = data.models["model"].isin(["pruned/unstructured-0.25", "pruned/structured-0.25"])
    one = dataclasses.replace(
        data, models=data.models.assign(times_smaller=data.models["times_smaller"].mask(others, 1))
    )
    assert sentence(one, "Under colour jitter").endswith("each, come to 40.0 % (quantized/ptq-int8).")
    assert (
        pictures_of(details.attention(one))[-1].title == "quantized/ptq-int8 beside the baseline: SSIM 0.99 (n = 190)"
    )


def test_an_accuracy_that_does_not_fall_is_not_said_to(data: Tables) -> None:
    colour = data.extra["explain/colour"].assign(top1_pct=40.0)
    assert "top-1 goes from 40.0 to 40.0 %" in sentence(made_up.with_tables(data, {"explain/colour": colour}), "Under")


def test_of_each_change_the_page_says_what_it_takes_and_no_verdict(data: Tables) -> None:
    assert sentence(data, "Under colour jitter") == (
        "Under colour jitter the baseline's top-1 falls from 85.0 to 40.0 % (n = 500); compressed models, one training "
        "each, come to between 40.0 % (pruned/structured-0.25) and 40.0 % (quantized/ptq-int8)."
    )
    assert sentence(data, "With Gaussian noise") == (
        "With Gaussian noise of 0.1 (pixels lie in 0 to 1) the baseline's top-1 falls from 86.0 to 70.0 % (n = 400); "
        "compressed models, one training each, come to between 67.0 % (quantized/ptq-int8) and 69.0 % "
        "(pruned/unstructured-0.25)."
    )
    assert sentence(data, "After a step of 0.008 in every pixel")


def test_the_table_begins_with_the_baseline_and_says_what_no_aim_would_give(data: Tables) -> None:
    (table,) = tables_of(details.attention(data))
    changed = ("40.0 (36.0 to 44.0)", "70.0 (65.0 to 75.0)", "70.0 (65.0 to 75.0)")
    assert table.rows[0] == ("baseline", "–", "–", "52.0", *changed, "45.0 (41.0 to 49.0)")
    assert len(table.rows) == 4
    assert "covers 20.0 %" in table.caption


def test_a_change_that_was_not_tried_is_left_out(data: Tables) -> None:
    rows = data.extra["explain/robustness"]
    for kept in (rows[rows["change"] == "noise"], pd.DataFrame()):
        less = made_up.with_tables(data, {"explain/robustness": kept})
        assert not sentence(less, "After a step")
        assert bool(sentence(less, "With Gaussian noise")) == (len(kept) > 0)
        (table,) = tables_of(details.attention(less))
        assert len(table.rows[0]) == 6 + (len(kept) > 0)


@pytest.mark.parametrize("missing", ["attention", "colour", "all but students"])
def test_without_maps_of_compressed_models_or_colours_there_is_no_section(with_students: Tables, missing: str) -> None:
    seen = with_students.extra["explain/attention"]
    students = seen[seen["model"].str.startswith("students/")]
    without = {"explain/attention": students} if missing == "all but students" else {f"explain/{missing}": seen.head(0)}
    assert details.attention(made_up.with_tables(with_students, without)) == []


def test_an_empty_map_is_named_and_a_missing_similarity_is_not_a_number(data: Tables) -> None:
    rows = data.extra["explain/strips"]
    rows = rows.assign(map=rows["map"].where(rows["model"] != "quantized/ptq-int8", made_up.encoded(bytes(16))))
    rows.loc[rows["model"] != "pruned/unstructured-0.25", "ssim"] = np.nan
    drawn = made_up.with_tables(data, {"explain/strips": rows})
    cells = pictures_of(details.attention(drawn))[0].panels[0]["data"]["values"]
    assert [cell["note"] for cell in cells] == ["", "", "0.90", "", "empty map"]


def test_pixels_must_be_whole() -> None:
    with pytest.raises(ValueError, match="must start with 'uint8:'"):
        details.pixels("abc", 1)
    with pytest.raises(ValueError, match="reshape"):
        details.pixels(made_up.encoded(bytes(3)), 2, 2)


def test_without_a_usable_map_the_finding_says_so(data: Tables) -> None:
    rows = data.extra["explain/attention"].assign(ssim=np.nan)
    none = made_up.with_tables(data, {"explain/attention": rows})
    assert pictures_of(details.attention(none))[-1].title.startswith("No map")
