"""Every figure: its finding on top, units on its axes, equal bytes for equal numbers."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from matplotlib.figure import Figure

from deepcompress.report import figures, queries, style
from deepcompress.report.tables import Tables

DRAWINGS: dict[str, Callable[[Tables], Figure]] = {
    "accuracy_size": lambda data: figures.accuracy_size(data.models, "The finding"),
    "differences": lambda data: figures.differences(
        data.of("pruned"), {"pruned/structured-0.25": -34.6}, "The finding"
    ),
    "training_curves": lambda data: figures.training_curves(
        data.history[data.history["model"].str.startswith("students")], "The finding"
    ),
    "sensitivity_curves": lambda data: figures.sensitivity_curves(
        data.extra["sensitivity/unstructured"], "The finding"
    ),
    "sparsity_accuracy": lambda data: figures.sparsity_accuracy(
        {("unstructured", "pruned"): queries.curve(data, "pruned", "unstructured")}, data.baseline, "The finding"
    ),
    "class_accuracy": lambda data: figures.class_accuracy(
        data.named(data.per_class)[data.per_class["model"].isin(["baseline", "quantized/ptq-int8"])],
        ["heart_plain", "circle_dots", "star_checks"],
        "The finding",
    ),
}


def png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


@pytest.mark.parametrize("name", DRAWINGS)
def test_equal_numbers_give_equal_bytes(name: str, data: Tables) -> None:
    assert png(DRAWINGS[name](data)) == png(DRAWINGS[name](data))


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_finding_is_the_title_and_axes_have_units(name: str, data: Tables) -> None:
    figure = DRAWINGS[name](data)
    assert figure.get_suptitle() == "The finding"
    quantities = [axes.get_xlabel() + axes.get_ylabel() for axes in figure.axes]
    assert any("[" in quantity for quantity in quantities)
    assert all(quantities)


def test_a_long_finding_is_broken_into_lines_that_fit(data: Tables) -> None:
    figure = figures.accuracy_size(data.models, "a finding of many words " * 6)
    lines = figure.get_suptitle().split("\n")
    assert len(lines) > 1
    assert max(map(len, lines)) <= style.TITLE_LETTERS


def test_each_point_has_its_interval(data: Tables) -> None:
    (axes,) = figures.accuracy_size(data.models, "").axes
    bars = [segment for collection in axes.collections for segment in collection.get_segments()]  # type: ignore[attr-defined]
    spans = {(round(low, 6), round(high, 6)) for (_, low), (_, high) in bars}
    wanted = {(round(r.top1_pct_low, 6), round(r.top1_pct_high, 6)) for r in data.models.itertuples()}
    assert spans == wanted


def test_the_source_report_is_drawn_only_where_it_has_a_number(data: Tables) -> None:
    beside = DRAWINGS["differences"](data)
    without = figures.differences(data.of("pruned"), {}, "")
    assert [text.get_text() for text in beside.legends[0].get_texts()] == ["here, 95 % interval", "source report"]
    assert [text.get_text() for text in without.legends[0].get_texts()] == ["here, 95 % interval"]


def test_one_model_alone_makes_a_readable_scale(alone: Tables) -> None:
    (axes,) = figures.accuracy_size(alone.models, "").axes
    low, high = axes.get_xlim()
    assert sum(low <= tick <= high for tick in axes.get_xticks()) >= 3


def test_a_histogram_per_layer_tells_its_share_of_zeros(data: Tables) -> None:
    rows = data.extra["weights/pruned/unstructured-0.25"]
    figure = figures.weight_histograms(rows[rows["state"] == "masked"], "The finding", family="pruned")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    titles = [axes.get_title(loc="left") for axes in shown]
    assert titles == [f"{layer}\n25 % zeros" for layer in ("features.0", "features.4", "classifier.0", "classifier.6")]
    assert all(len(axes.patches[0].get_data().values) == 10 for axes in shown)
    assert figure.get_supxlabel() == "weight"
    assert png(figure)


def test_both_states_of_both_methods_are_told_apart(data: Tables) -> None:
    curves = {(m, f): queries.curve(data, f, m) for m in queries.METHODS for f in ("masked", "pruned")}
    figure = figures.sparsity_accuracy(curves, data.baseline, "")
    (legend,) = figure.legends
    names = [entry.get_text() for entry in legend.get_texts()]
    assert names == [
        "baseline",
        "unstructured, before fine-tuning",
        "unstructured, fine-tuned",
        "structured, before fine-tuning",
        "structured, fine-tuned",
    ]


def test_names_beside_a_strip_stay_within_the_figure() -> None:
    grey = np.full((4, 4, 3), 128)
    maps = {name: [grey[:, :, 0]] * 3 for name in ("baseline", "a/rather-long-name-of-a-model")}
    notes = {name: ["SSIM 0.50"] * 3 for name in maps}
    figure = figures.strip([grey] * 3, maps, notes, "The finding")
    (axes,) = figure.axes
    boxes = [label.get_window_extent() for label in (*axes.get_yticklabels(), *axes.texts, *figure.texts)]
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.x1 and box.y0 >= 0 and box.y1 <= figure.bbox.y1 for box in boxes)
    assert len({round(box.width / box.height, 3) for box in (one.get_window_extent() for one in axes.images)}) == 1
    assert axes.images[0].get_window_extent().width == pytest.approx(
        axes.images[0].get_window_extent().height, rel=1e-6
    )
