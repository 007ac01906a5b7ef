"""What DVC plots: tables in long form, figures as files, templates that read them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from deepcompress.report import page, plots
from deepcompress.report.tables import Tables

TEMPLATES = Path(__file__).parents[2] / ".dvc" / "plots"


def test_tables_and_figures_are_written_and_old_figures_go(alone: Tables, tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "of_a_family_that_left.png").write_bytes(b"")
    plots.write(tmp_path, alone, page.sections(alone).values())
    tables = [f"{name}.csv" for name in plots.TABLES]
    assert {path.name for path in tmp_path.iterdir()} == {*tables, "figures", "vega.js"}
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {
        "accuracy_size", "baseline_training", "class_accuracy"
    }  # fmt: skip
    models = pd.read_csv(tmp_path / "models.csv")
    assert models.loc[0, ["series", "model", "size_mib", "top1_pct"]].tolist() == ["baseline", "baseline", 9.346, 87.3]
    assert pd.read_csv(tmp_path / "history.csv")["series"].unique().tolist() == ["baseline"]


def test_the_pruning_curve_rises_by_sparsity_and_students_have_a_series_per_teacher(data: Tables) -> None:
    curve = plots.pruning(data)
    assert set(curve["series"]) == {"unstructured", "structured"}
    assert curve["sparsity_pct"].between(0, 100).all()
    assert curve.groupby("series")["sparsity_pct"].apply(lambda one: one.is_monotonic_increasing).all()
    assert "vgg16" in set(plots.students(data)["series"])


@pytest.mark.parametrize("name", ["points", "dots", "sweep"])
def test_templates_colour_by_series_and_tell_revisions_apart(name: str) -> None:
    text = (TEMPLATES / f"{name}.json").read_text(encoding="utf-8")
    assert json.loads(text)["data"] == {"values": "<DVC_METRIC_DATA>"}
    assert '"field": "series"' in text
    assert '"field": "rev"' in text
    assert {"<DVC_METRIC_X>", "<DVC_METRIC_Y>"} <= set(text.split('"'))


def test_dvc_draws_its_plots_with_the_library_that_the_report_wrote() -> None:
    page = (TEMPLATES / "page.html").read_text(encoding="utf-8")
    config = (TEMPLATES.parent / "config").read_text(encoding="utf-8")
    assert "html_template = plots/page.html" in config
    assert {"{refresh_tag}", "{scripts}", "{plot_divs}"} <= set(re.findall(r"\{\w+\}", page))
    assert f'<script src="../plots/{plots.LIBRARY}"></script>' in page
