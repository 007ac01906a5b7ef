"""A contract over all sections, and what each one promises."""

from __future__ import annotations

import dataclasses
from types import ModuleType

import pandas as pd
import pytest

from deepcompress import registry
from deepcompress.report import cost, tables
from deepcompress.report.blocks import NUMBER, Section, Table
from deepcompress.report.sections import (
    baseline,
    classes,
    deploy,
    overview,
    provenance,
    pruned,
    pruned_storage,
    pruned_weights,
    recommendation,
    sensitivity,
    training,
)
from deepcompress.report.tables import Tables

NAMES = registry.names("report.sections")
FAMILIES = {
    "pruned",
    "quantized",
    "teachers",
    "students",
    "combined",
    "sensitivity",
    "pruned_weights",
    "pruned_storage",
    "recommendation",
    "shipped",
    "attention",
    "claims",
    "cost",
    "deploy",
    "speed",
    "times",
}


def section_of(name: str) -> ModuleType:
    return registry.find("report.sections", name)


def tables_of(section: Section | None) -> list[Table]:
    assert section is not None
    return [block for block in section.blocks if isinstance(block, Table)]


@pytest.mark.parametrize("name", NAMES)
def test_a_section_has_a_title_and_whole_tables(name: str, data: Tables) -> None:
    section = section_of(name).build(data)
    assert section.title
    assert section.blocks
    for table in tables_of(section):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert all(isinstance(cell, str) and "nan" not in cell for row in table.rows for cell in row)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_technique_without_models_has_no_section(name: str, alone: Tables) -> None:
    assert section_of(name).build(alone) is None


@pytest.mark.parametrize("name", NAMES)
def test_a_section_can_do_without_comparisons(name: str, data: Tables) -> None:
    models = data.models.copy()
    models[[name for name in tables.OPTIONAL_COLUMNS if name not in (cost.OWN, cost.TOTAL)]] = float("nan")
    section = section_of(name).build(dataclasses.replace(data, models=models))
    assert section.blocks


def test_picture_names_are_unique(data: Tables) -> None:
    pictures = [picture.name for name in NAMES for picture in section_of(name).build(data).pictures]
    assert len(pictures) == len(set(pictures))


def test_the_page_opens_with_the_figure_and_one_table(data: Tables) -> None:
    section = overview.build(data)
    assert [picture.name for picture in section.pictures] == ["accuracy_size"]
    open_tables = [table for table in tables_of(section) if not table.folded]
    assert len(open_tables) == 1
    assert open_tables[0].rows[0][0] == "baseline"
    assert [table.folded for table in tables_of(section) if table.folded] == ["All 28 models"]


def test_the_paper_s_pruned_models_stand_beside_ours(data: Tables) -> None:
    rows = tables_of(pruned.build(data))[3].rows
    assert [(row[0], row[4]) for row in rows] == [("structured-0.25", "26.4"), ("unstructured-0.25", "42.9")]


def test_accuracy_before_and_after_training_on_stands_beside_the_paper_s(data: Tables) -> None:
    first, second = tables_of(pruned.build(data))[1].rows
    assert first[:3] == ("unstructured", "42.9", "70.4")
    assert second[:3] == ("structured", "26.4", "43.2")
    assert first[3].startswith("86.8 (")
    assert first[5].startswith("87.4 (")
    assert first[-1] == "−0.1 (−0.9 to +1.3)"
    assert second[-1] == "–"


def test_a_sweep_without_the_paper_s_sparsity_shows_its_curve_alone(data: Tables) -> None:
    models = data.models[~data.models["name"].str.endswith("-0.25")]
    section = pruned.build(dataclasses.replace(data, models=models))
    assert section is not None
    assert [picture.name for picture in section.pictures] == ["pruning_curve", "pruned_differences"]
    assert pruned_storage.build(dataclasses.replace(data, models=models)) is None


def test_layers_are_named_as_the_paper_names_them_only_where_they_match(data: Tables) -> None:
    section = sensitivity.build(data)
    folded = [table for table in tables_of(section) if table.folded]
    assert [table.folded for table in folded] == [
        "Sparsity per layer, unstructured 25 %",
        "Sparsity per layer, structured 25 %",
    ]
    assert folded[0].rows[-1] == ("Overall", "94,400", "0.251", "0.250", "0.250")


def test_what_pruning_saves_is_told_in_measured_numbers(data: Tables) -> None:
    section = pruned_storage.build(data)
    assert section is not None
    assert section.blocks[0].text.startswith(
        "At 25 % unstructured a bitmask takes 74 % of the dense bytes and CSR 142 %"
    )
    sizes, accounting, qualities = tables_of(section)
    assert len(sizes.rows) == 5
    assert accounting.rows[0][1:4] == ("492.73", "0.00", "492.73")
    assert [row[0] for row in qualities.rows][-2:] == ["Accuracy", "Storage"]
    assert qualities.rows[-2][2] == "keeps 99.2 % fine-tuned, 39.1 % before fine-tuning"


def test_weights_are_drawn_dense_and_after_each_method(data: Tables) -> None:
    section = pruned_weights.build(data)
    assert section is not None
    assert [picture.name for picture in section.pictures] == [
        "weights_dense",
        "weights_unstructured",
        "weights_structured",
    ]


def test_other_data_is_not_compared_by_its_absolute_accuracy(data: Tables) -> None:
    assert "neither agrees with the paper nor contradicts it" in baseline.build(data).blocks[0].text


@pytest.mark.parametrize(
    ("top1", "said"), [(61.2, "agree within our 95 % interval"), (50.0, "above it"), (70.0, "below it")]
)
def test_the_paper_s_data_is_compared_by_interval(top1: float, said: str, data: Tables) -> None:
    names = ["aquarium_fish", "sweet_pepper", "pickup_truck", *(f"class_{i}" for i in range(97))]
    models = data.models.assign(top1_pct=top1, top1_pct_low=top1 - 1, top1_pct_high=top1 + 1)
    theirs = dataclasses.replace(data, models=models, per_class=pd.DataFrame({"class": names}))
    assert said in baseline.build(theirs).blocks[0].text


def test_nothing_trained_means_no_curves(data: Tables) -> None:
    assert training.build(dataclasses.replace(data, history=data.history.head(0))) is None


def test_curves_come_per_family_with_the_baseline_first(data: Tables) -> None:
    section = training.build(data)
    assert section is not None
    names = [picture.name for picture in section.pictures]
    assert names[:2] == ["baseline_training", "pruned_training"]


def test_of_many_classes_the_ends_are_shown(data: Tables) -> None:
    section = classes.build(data)
    assert section is not None
    (picture,) = section.pictures
    assert len(picture.figure.axes[0].get_yticks()) == 2 * classes.ENDS
    assert picture.caption.startswith("The best and the worst 10 of 24 classes")


def test_a_class_without_images_is_left_out(data: Tables) -> None:
    rows = pd.DataFrame({"model": "baseline", "class": ["a", "b"], "n": [5, 0], "top1_pct": [60.0, None]})
    section = classes.build(dataclasses.replace(data, per_class=rows))
    assert section is not None
    assert [len(picture.figure.axes[0].get_yticks()) for picture in section.pictures] == [1]


def test_every_parameter_is_listed(data: Tables) -> None:
    listed = {row[0]: row[1] for table in tables_of(provenance.build(data)) for row in table.rows}
    assert listed["finetune.learning_rate"] == "0.004"
    assert listed["model.weights"] == "–"
    assert listed["Held-out images"] == "1,000"
    assert listed["baseline.top1_pct"] == "87.3"


@pytest.mark.parametrize("cell", ["–", "9.35", "+0.4 (−0.7 to +1.5)", "3.9×", "2.4 M", "< 0.001", "1,000"])
def test_numbers_are_set_flush_right(cell: str) -> None:
    assert NUMBER.fullmatch(cell)


@pytest.mark.parametrize("cell", ["vgg11", "32 px", "agrees", "1f2e3d4c", "shapes, 24 classes"])
def test_words_are_not(cell: str) -> None:
    assert not NUMBER.fullmatch(cell)


def test_the_files_to_deploy_are_said_in_one_sentence_and_a_row_each(data: Tables) -> None:
    section = deploy.build(data)
    (table,) = tables_of(section)
    assert section is not None
    assert section.blocks[0].text == (  # type: ignore[union-attr]
        "The smallest of the recommended model, model_int4.onnx (quantized/qat-int4, int4), takes 1.43 MiB and gets "
        "86.0 % right; of all files, shipped_int8.onnx strays furthest from its model: 98.7 % of the answers are the "
        "same."
    )
    assert table.rows[1] == ("model.onnx", "quantized/qat-int4", "int8", "2.38", "99.40", "0.31", "86.0")
    assert table.caption.endswith("on 1,000 held-out images.")


def test_the_recommendation_opens_with_its_reason_and_shows_the_front_and_why_others_are_out(data: Tables) -> None:
    section = recommendation.build(data)
    assert section is not None
    assert section.blocks[0].text == data.notes["recommendation"]["reason"]
    assert section.blocks[1].text == (
        "On the 1,000 held-out images, which it was not chosen on: 87.1 (84.9 to 89.0) %, −0.2 (−1.3 to +0.9) points "
        "to the baseline. The runner-up is pruned/structured-0.5."
    )
    front, excluded = tables_of(section)
    assert [row[0] for row in front.rows] == ["quantized/ptq-int4", "quantized/ptq-int8", "pruned/structured-0.5"]
    assert [row[2] for row in front.rows] == ["6.0 (+5.0 to +7.0)", "0.0 (−1.0 to +1.0)", "1.0 (0.0 to +2.0)"]
    assert [row[-1] for row in excluded.rows] == ["6 points lost, at most 1", "2 points lost, at most 1"]


def test_a_recommended_model_without_held_out_numbers_is_said_to_have_none(data: Tables) -> None:
    models = data.models[data.models["model"] != "quantized/ptq-int8"]
    section = recommendation.build(dataclasses.replace(data, models=models))
    assert section is not None
    assert section.blocks[1].text.startswith("It was not measured on the held-out images.")
