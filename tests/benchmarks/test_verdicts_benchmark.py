"""The benchmark of verdicts: counts and changes of made-up tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks import verdicts
from deepcompress.measure.verdict import COLUMNS

EVALUATION = """model,family,step,builds_on,training_tera_macs
baseline,baseline,finetune,,1.0
pruned/a,pruned,prune,baseline,1.0
pruned/b,pruned,prune,baseline,1.0
quantized/c,quantized,quantize,baseline,
"""


def replicates(path: Path, a: list[float], b: list[float], c: tuple[int, int]) -> Path:
    """Points of two trained models over seeds; images that a rounded one alone, and the baseline alone, got right."""
    rows = [",".join(COLUMNS)]
    for seed, points in enumerate(zip(a, b, strict=True)):
        rows.append(f"{seed},baseline,,2000,90.0,,,,")
        trained = zip(("pruned/a", "pruned/b"), points, strict=True)
        rows += [f"{seed},{model},baseline,2000,{90 + of},{of},9,9,0.0" for model, of in trained]
        gained, lost = c if seed == 0 else (9, 9)
        rows.append(f"{seed},quantized/c,baseline,2000,90.0,{(gained - lost) / 20},{gained},{lost},0.0")
    path.write_text("\n".join(rows) + "\n")
    return path


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    path = tmp_path / "evaluation.csv"
    path.write_text(EVALUATION)
    return path


def run(*arguments: Path | str, code: int = 0) -> str:
    result = CliRunner().invoke(verdicts.main, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_equal_changed_and_turned_verdicts_are_counted_by_what_they_rest_on(tmp_path: Path, evaluation: Path) -> None:
    first = replicates(tmp_path / "a.csv", [6.0, 6.1, 5.9], [-2.0, -2.1, -1.9], (5, 60))
    second = replicates(tmp_path / "b.csv", [-6.0, -6.1, -5.9], [-2.0, -0.2, -4.0], (6, 59))
    told = run(first, second, "--evaluation", evaluation).splitlines()
    counts = ["| all | 3 | 1 (33.3 %) | 1 |", "| seeds | 2 | 0 (0.0 %) | 1 |", "| images | 1 | 1 (100.0 %) | 0 |"]
    assert told[2:6] == [*counts, "| all, each taken alone | 3 | 1 (33.3 %) | 1 |"]
    assert told[9:11] == ["| pruned | 2 | 1 | 1 | 0 | 1 |", "| quantized | 1 | 0 | 1 | 0 | 1 |"]
    assert told[14].startswith("| `pruned/a` | `baseline` | seeds | +6.00 (+5.84 to +6.16) | gain | -6.00 (")
    assert told[15].endswith("| no significant difference |")
    assert told[16].startswith("| `quantized/c` | `baseline` | images | -2.75 ")
    assert len(told) == 17


def test_a_verdict_is_that_of_its_family_and_says_where_correction_leaves_nothing(
    tmp_path: Path, evaluation: Path
) -> None:
    """0.57 beyond 1 point with an error of 0.17: p = 0.03 by four degrees of freedom, below 0.05 alone, not of two."""
    first = replicates(tmp_path / "a.csv", [1.57, 1.87, 1.27], [0.0, 0.3, -0.3], (9, 9))
    told = run(first, first, "--evaluation", evaluation).splitlines()
    assert told[2] == "| all | 3 | 3 (100.0 %) | 0 |"
    assert told[9:] == ["| pruned | 2 | 0 | 0 | 0 | 0 |", "| quantized | 1 | 0 | 0 | 0 | 0 |"]


def test_tables_of_other_models_are_refused(tmp_path: Path, evaluation: Path) -> None:
    first = replicates(tmp_path / "a.csv", [1.0], [1.0], (1, 1))
    second = tmp_path / "b.csv"
    second.write_text("\n".join(line for line in first.read_text().splitlines() if "pruned/b" not in line))
    assert "must compare the same models" in run(first, second, "--evaluation", evaluation, code=2)
    second.write_text(first.read_text().replace("pruned/b", "pruned/d"))
    assert "has no model pruned/d" in run(first, second, "--evaluation", evaluation, code=2)
