"""The README's block: measured, marked, replaced as a whole."""

from __future__ import annotations

from pathlib import Path

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
        "| Model | Top-1 % (95 % interval) | Points to baseline | Points to control | MiB | Smaller |\n"
        "|---|--:|--:|--:|--:|--:|\n"
        "| `baseline` | 87.3 (85.1 to 89.2) | – | – | 9.35 | 1.0× |\n"
    )


def test_table_holds_the_baseline_the_sentence_s_model_and_the_front_on_validation_images(data: Tables) -> None:
    rows = [line.split("`")[1] for line in readme.render(data).splitlines() if line.startswith("| `")]
    assert rows[0] == "baseline"
    assert set(rows[1:]) == {
        "combined/prune_quantize", "quantized/ptq-int8", "quantized/ptq-int4", "pruned/structured-0.5"
    }  # fmt: skip
    assert len(rows) <= readme.MOST_ROWS


def test_the_note_says_what_was_chosen_where_and_how_many_trainings_there_are(data: Tables, single: Tables) -> None:
    assert readme.render(data).endswith("Differences between trainings are means of 3 seeds.\n")
    assert readme.render(single).endswith("one of each says nothing of chance: no interval.\n")
    row = next(line for line in readme.render(single).splitlines() if line.startswith("| `pruned/structured-0.5`"))
    assert "| −3.1 (one training each) |" in row


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
