"""The README's block: measured, marked, replaced as a whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from deepcompress.errors import UserError
from deepcompress.report import readme
from deepcompress.report.tables import Tables

DOCUMENT = f"# Title\n\n{readme.BEGIN}\nold\n{readme.END}\n\nThe rest.\n"


def test_block_of_the_baseline_alone(alone: Tables) -> None:
    assert readme.render(alone) == (
        "**The baseline reaches 87.3 (85.1 to 89.2) % top-1 in 9.35 MiB.** "
        "(24 classes of `shapes`, 1,000 held-out images)\n\n"
        "![The baseline: 87.3 % top-1 in 9.35 MiB (n = 1,000)](plots/figures/accuracy_size.png)\n\n"
        "| Model | Top-1 % (95 % interval) | Points to baseline | Size, MiB | Smaller |\n"
        "|---|--:|--:|--:|--:|\n"
        "| `baseline` | 87.3 (85.1 to 89.2) | – | 9.35 | 1.0× |\n"
    )


def test_table_is_short_and_holds_nothing_larger_than_the_baseline(data: Tables) -> None:
    rows = [line for line in readme.render(data).splitlines() if line.startswith("| `")]
    assert len(rows) <= readme.MOST_ROWS
    assert rows[0].startswith("| `baseline`")
    assert not any("teachers/" in row for row in rows)
    assert any("combined/prune_quantize" in row for row in rows)


def test_table_holds_the_model_of_the_sentence_and_no_teacher_however_many_are_more_accurate(data: Tables) -> None:
    named = data.candidates.iloc[[1]].assign(
        model="quantized/last", family="quantized", top1_pct=data.baseline["top1_pct"] - 0.5, difference_points=-0.5,
        size_bytes=1, size_mib=1e-6, times_smaller=1e6, macs=10**9,
    )  # fmt: skip
    better = [
        named.assign(model=f"{family}/{i}", family=family, top1_pct=99.0 + i / 10, size_bytes=2 + i, macs=10**8)
        for family in ("pruned", "teachers")
        for i in range(readme.MOST_ROWS)
    ]
    table = readme.render(dataclasses.replace(data, models=pd.concat([data.models, named, *better])))
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == readme.MOST_ROWS
    assert rows[-1].startswith("| `quantized/last`")
    assert "teachers/" not in "".join(rows)


def test_a_teacher_smaller_than_all_is_no_model_to_hand_over(data: Tables) -> None:
    small = data.candidates.iloc[[1]].assign(
        model="teachers/small", family="teachers", top1_pct=data.baseline["top1_pct"], difference_points=0.0,
        size_bytes=1, size_mib=1e-6, times_smaller=1e6,
    )  # fmt: skip
    with_it = dataclasses.replace(data, models=pd.concat([data.models, small], ignore_index=True))
    assert readme.render(with_it) == readme.render(data)


def test_only_what_lies_between_the_markers_changes() -> None:
    replaced = readme.replace_block(DOCUMENT, "new\n")
    assert replaced == f"# Title\n\n{readme.BEGIN}\nnew\n{readme.END}\n\nThe rest.\n"
    assert readme.replace_block(replaced, "new\n") == replaced


@pytest.mark.parametrize(
    "document",
    ["", readme.BEGIN, readme.END, f"{readme.END}\n{readme.BEGIN}", DOCUMENT + DOCUMENT],
    ids=["none", "no end", "no begin", "wrong order", "twice"],
)
def test_missing_markers_are_refused(document: str) -> None:
    with pytest.raises(UserError, match="needs the lines"):
        readme.replace_block(document, "new\n")


def test_a_missing_readme_is_named(alone: Tables, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"NONE\.md: no such file"):
        readme.updated(tmp_path / "NONE.md", alone)
