"""What a pull request's changes of accuracy are worth: nothing is marked that chance explains."""

import random
import re
from typing import Any

import pytest

from deepcompress.measure.verdict import GAIN, LOSS, NO_DIFFERENCE, NONE, NOT_TESTED, Estimate, Replicates
from deepcompress.report import pr_report
from deepcompress.report.pr_report import changes

N = 2000


def row(model: str, top1: float, **columns: Any) -> dict[str, Any]:
    family = model.partition("/")[0]
    common = {"model": model, "family": family, "step": "finetune", "n": N, "top1_pct": top1, "training_tera_macs": 1.0}
    return {**common, "builds_on": None if family == "baseline" else "baseline", **columns}


def rounded(top1: float, agreement: float) -> dict[str, Any]:
    columns = {"step": "quantize", "training_tera_macs": 0.0, "agreement_with_baseline_pct": agreement}
    return row("quantized/ptq-int4", top1, **columns)


def replicates(**top1: list[float]) -> Replicates:
    rows = [
        {"seed": seed, "model": model, "reference": None if model == "baseline" else "baseline", "top1_pct": at}
        for model, found in top1.items() for seed, at in enumerate(found)
    ]  # fmt: skip
    return Replicates(rows)


@pytest.mark.parametrize(
    ("spread", "after", "said"),
    [
        (0.2, 95.75, f" {NO_DIFFERENCE} |"),
        (0.2, 90.0, f" **{LOSS}** |"),
        (0.2, 99.0, f" **{GAIN}** |"),
        (0.0, 80.0, "| not tested: the same in all 3 trainings |"),
    ],
)
def test_a_trained_model_is_judged_by_how_far_its_trainings_lie_apart(spread: float, after: float, said: str) -> None:
    repeated = replicates(baseline=[96.0, 96.0 + spread, 96.0 - spread])
    (found,) = changes([row("baseline", 96.0)], [row("baseline", after)], repeated)
    assert said in pr_report.accuracy_section([found], 1)


@pytest.mark.parametrize(
    ("after", "agreement", "words"), [(95.75, 98.0, NO_DIFFERENCE), (94.0, 97.5, LOSS), (34.0, 0.0, LOSS)]
)
def test_another_rounding_of_the_same_training_is_judged_by_its_images(
    after: float, agreement: float, words: str
) -> None:
    before = [row("baseline", 96.0), rounded(96.0, 99.0)]
    ((_, _, found),) = changes(before, [row("baseline", 96.0), rounded(after, agreement)], NONE)
    assert found.words == words
    assert found.low < after - 96.0 < found.high


def test_a_rounding_of_another_training_is_a_training() -> None:
    before, after = [row("baseline", 96.0), rounded(96.0, 99.0)], [row("baseline", 96.1), rounded(94.0, 97.5)]
    assert [of.words for _, _, of in changes(before, after, NONE)] == [NOT_TESTED, NOT_TESTED]


def test_a_rerun_that_draws_other_trainings_marks_nothing() -> None:
    """Forty models, each run again with another draw of the same spread; Holm keeps one lone small p unmarked."""
    draw, models = random.Random(0), [f"pruned/{i}" for i in range(40)]
    seen = {model: [90 + draw.gauss(0, 0.3) for _ in range(4)] for model in models}
    before, after = ([row("baseline", 96.0), *(row(model, seen[model][i]) for model in models)] for i in (0, 3))
    repeated = replicates(**{model: found[:3] for model, found in seen.items()})
    found = changes(before, after, repeated)
    assert len(found) == 40
    section = pr_report.accuracy_section(found, 41)
    assert section.startswith("40 of 41 accuracies changed, none of them by more than chance. ")
    assert "<summary>40 changes</summary>" in section


def test_the_marked_changes_come_first_and_the_others_are_folded() -> None:
    repeated = replicates(baseline=[96.0, 96.1, 95.9], **{"pruned/a": [90.0, 90.1, 89.9]})
    before, after = [row("baseline", 96.0), row("pruned/a", 90.0)], [row("baseline", 96.05), row("pruned/a", 80.0)]
    text = pr_report.accuracy_section(changes(before, after, repeated), 2)
    assert (
        text.index("| `pruned/a` | 90.00 | 80.00 |")
        < text.index("<details><summary>1 other</summary>")
        < text.index("`baseline`")
    )


@pytest.mark.parametrize(
    ("marked", "others", "said", "folded"),
    [
        (1, 0, "1 of 24 accuracies changed, by more than chance. ", None),
        (0, 1, "1 of 24 accuracies changed, not by more than chance. ", "1 change"),
        (1, 2, "3 of 24 accuracies changed, 1 of them by more than chance. ", "2 others"),
        (2, 0, "2 of 24 accuracies changed, 2 of them by more than chance. ", None),
    ],
)
def test_numbers_and_plurals_are_right(marked: int, others: int, said: str, folded: str | None) -> None:
    beyond, within = Estimate(-9.0, -10.0, -8.0, 0.001), Estimate(-0.1, -1.0, 0.8, 0.8)
    found = [(row("pruned/a", 90.0), row("pruned/a", 81.0), of) for of in [beyond] * marked + [within] * others]
    section = pr_report.accuracy_section(found, 24)
    assert section.startswith(said)
    assert [folded] * (others > 0) == re.findall("<summary>(.*)</summary>", section)


def test_nothing_changed_is_said() -> None:
    assert (
        pr_report.accuracy_section(changes([row("baseline", 96.0)], [row("baseline", 96.0)], NONE), 1) == "No change."
    )
