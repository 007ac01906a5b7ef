"""Verdicts: over images where one training is behind both models, over seeds elsewhere, and none on one training."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepcompress.errors import UserError
from deepcompress.measure import verdict
from deepcompress.measure.verdict import NO_DIFFERENCE, Estimate, Replicates, change, over_seeds, trained_apart
from deepcompress.plan_table import Plan
from tests import plans

IDS = ("baseline", "masked/a", "pruned/a", "quantized/ptq", "shipped/quantized", "students/a")
PLAN = plans.plan(IDS, builds_on={"pruned/a": "masked/a", "shipped/quantized": "pruned/a"})
SMALL = "not significant beyond 1 point"


def row(model: str, points: float, low: float, high: float, p: float, **more: Any) -> dict[str, Any]:
    ends = {"difference_points_low": low, "difference_points_high": high, "mcnemar_p": p}
    return {"model": model, "n": 2000, "top1_pct": 90 + points, "difference_points": points, **ends, **more}


def replicates(model: str, differences: list[float], shared: float = 0.0, reference: str = "baseline") -> Replicates:
    values = {"model": model, "reference": reference, "n": 2000.0, "gained": 1.0, "lost": 1.0}
    values["shared_variance"] = shared
    return Replicates(
        [{**values, "seed": k, "difference_points": d, "top1_pct": 90 + d} for k, d in enumerate(differences)]
    )


def judge(measured: dict[str, Any], plan: Plan, seen: Replicates = verdict.NONE) -> Estimate:
    """Of one comparison alone."""
    (found,) = verdict.judge([measured], plan, seen)
    return found


def test_a_training_stands_between_two_models_if_one_has_it_and_the_other_has_not() -> None:
    assert not trained_apart(PLAN, "quantized/ptq", "baseline")
    assert not trained_apart(PLAN, "masked/a", "quantized/ptq")
    assert not trained_apart(PLAN, "shipped/quantized", "pruned/a")
    assert trained_apart(PLAN, "shipped/quantized", "baseline")
    assert trained_apart(PLAN, "students/a", "baseline")


@pytest.mark.parametrize(
    ("points", "p", "words"),
    [(-1.5, 0.001, "loss"), (1.5, 0.001, "gain"), (1.3, 0.01, SMALL), (-0.9, 0.01, SMALL), (0.3, 0.15, NO_DIFFERENCE)],
)
def test_one_training_is_judged_over_images(points: float, p: float, words: str) -> None:
    """A gain or a loss lies further beyond 1 point than its interval reaches: 0.4."""
    found = judge(row("quantized/ptq", points, points - 0.4, points + 0.4, p), PLAN)
    assert (found.phrase, found.basis, found.p, found.low) == (words, "images", p, points - 0.4)
    assert found.tested


def test_a_pair_is_judged_by_its_own_replicates() -> None:
    measured = row("shipped/quantized", -0.5, -0.6, -0.4, 0.01, reference="students/a")
    assert judge(measured, PLAN, replicates("shipped/quantized", [-0.5, -0.5, -0.5])).words.startswith("not tested")
    seen = replicates("shipped/quantized", [-1.5, -1.51, -1.5], reference="students/a")
    assert judge(measured, PLAN, seen).words == "loss"


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_a_row_that_compares_nothing_is_refused(nothing: Any) -> None:
    with pytest.raises(ValueError, match="baseline is compared with nothing"):
        judge(row("baseline", 0, 0, 0, 1) | {"difference_points": nothing}, PLAN)


def test_words_follow_the_p_that_is_corrected_in_the_family_of_the_model() -> None:
    """Worked by hand: half as far beyond 1 point again as an interval of 0.78 reaches has p = 0.0121."""
    pairs = [("quantized/ptq", "baseline"), ("quantized/ptq", "masked/a"), ("masked/a", "baseline")]
    rows = [row(model, 2.0, 1.22, 2.78, 1e-6, reference=other) for model, other in pairs]
    first, second, lone = verdict.judge(rows, PLAN)
    assert [of.words for of in (first, second, lone)] == ["gain"] * 3
    assert [of.holm_p for of in (first, second, lone)] == pytest.approx([0.0240, 0.0240, 0.0120], abs=1e-4)
    crowded = verdict.judge([*rows, *[rows[0]] * 3], PLAN)
    assert {of.words for of in crowded[:2]} == {"no significant difference"}
    assert crowded[0].phrase == "not significant beyond 1 point after Holm's correction for 5 comparisons"
    assert (crowded[0].p, crowded[0].low) == (1e-6, 1.22)
    assert crowded[2].words == "gain"


def test_what_is_not_tested_counts_for_no_family() -> None:
    rows = [row("pruned/a", -4.0, -5.0, -3.0, 1e-9), row("quantized/ptq", -2.0, -2.5, -1.5, 0.03)]
    untested, tested = verdict.corrected([judge(one, PLAN) for one in rows], ["one", "one"])
    assert untested.words == "not tested: one training each"
    assert (tested.words, tested.holm_p) == ("loss", 0.03)


@pytest.mark.parametrize(
    ("points", "given", "reach", "freedom"),
    [
        ([1.0, 2.0, 3.0], {}, 4.303 / math.sqrt(3), 2),  # deviation 1
        ([1.0, 2.0, 3.0], {"shared_variance": 1 / 3}, 2.306 * math.sqrt(2 / 3), 8),  # as much again: 2 * 2^2
        ([1.0, 2.0, 3.0], {"usual": 3.0}, 2.776 * math.sqrt(2 / 3), 4),  # (1 + 3) / 2: it counts as much as its own
    ],
)
def test_over_seeds_is_the_t_interval_worked_by_hand(
    points: list[float], given: dict[str, float], reach: float, freedom: float
) -> None:
    found, middle = over_seeds(points, **given), sum(points) / 3
    assert (found.low, found.high) == pytest.approx((middle - reach, middle + reach), abs=1e-3)
    assert found.freedom == pytest.approx(freedom)


@pytest.mark.parametrize("shared", [-0.1, 0.04])  # nor do their images, which say nothing of the next training
def test_trainings_that_came_out_equal_do_not_make_a_difference_certain(shared: float) -> None:
    found = over_seeds([0.5, 0.5], shared_variance=shared)
    assert (found.value, found.tested) == (0.5, False)
    assert not over_seeds([0.0, 0.0], shared_variance=-0.1).tested  # nor that there is none
    assert over_seeds([0.5, 0.5], shared_variance=-0.1, usual=0.02).tested


def test_typical_is_the_geometric_mean_of_the_others_in_the_family() -> None:
    spread = {1: [0.0, math.sqrt(2)], 4: [0.0, math.sqrt(8)], 16: [0.0, math.sqrt(32)]}  # variances and pairs with them
    repeated = [spread[1], spread[4], spread[16], [0.5, 0.5], [], spread[4], [1.0]]
    families = ["a", "a", "a", "a", "a", "b", "b"]
    found = verdict.typical(repeated, families)
    assert found[:4] == pytest.approx([8.0, 4.0, 2.0, 4.0])
    assert found[4:] == [None, None, None]


def test_verdicts_on_three_seeds_hold_in_a_family_and_seldom_change_when_all_is_drawn_anew() -> None:
    """40 comparisons whose spreads differ fivefold: half without a difference, half up to 6 points apart."""
    rng, runs, size = np.random.default_rng(1), 60, 40
    truth, spreads = np.r_[np.zeros(20), np.linspace(0.3, 6.0, 20)], np.geomspace(0.2, 1.0, 40)[rng.permutation(40)]
    held = false = turned = equal = 0
    before: list[str] = []
    for _ in range(runs):
        drawn = (truth[:, None] + rng.normal(0, 1, (size, 3)) * spreads[:, None]).tolist()
        usual = verdict.typical(drawn, [0] * size)
        alone = [over_seeds(points, usual=of) for points, of in zip(drawn, usual, strict=True)]
        judged = verdict.corrected(alone, [0] * size, verdict.MARGIN)
        held += sum(of.low <= true <= of.high for of, true in zip(judged, truth, strict=True))
        words = [of.words for of in judged]
        false += any(said in ("gain", "loss") for said, true in zip(words, truth, strict=True) if abs(true) <= 1)
        turned += sum({one, other} == {"gain", "loss"} for one, other in zip(words, before, strict=False))
        equal += sum(one == other for one, other in zip(words, before, strict=False))
        before = words
    assert 0.93 <= held / (runs * size) <= 0.98
    assert false / runs <= 0.05
    assert turned == 0
    assert equal / ((runs - 1) * size) >= 0.85


def test_a_change_is_judged_by_how_far_trainings_lie_apart() -> None:
    seen = replicates("pruned/a", [0.0, 0.5, -0.5])
    assert change(90.0, 90.3, "pruned/a", 2000, seen).words == "no significant difference"
    assert change(90.0, 85.0, "pruned/a", 2000, seen).words == "loss"
    # sqrt(2) * 0.5 * 4.303
    assert change(90.0, 90.3, "pruned/a", 2000, seen).high == pytest.approx(0.3 + 3.0426, abs=1e-3)
    assert change(90.0, 90.3, "pruned/a", 2000).words.startswith("not tested")
    assert change(90.0, 90.0, "pruned/a", 2000).words == "no significant difference"


def test_trainings_that_came_out_equal_do_not_make_every_change_significant() -> None:
    equal, other = replicates("pruned/a", [0.0, 0.0, 0.0]), replicates("pruned/b", [0.0, 0.5, -0.5])
    assert change(90.0, 89.95, "pruned/a", 2000, equal).words.startswith("not tested")
    both = Replicates([*equal.rows, *other.rows])
    assert change(90.0, 89.95, "pruned/a", 2000, both).words == "no significant difference"
    assert change(90.0, 85.0, "pruned/a", 2000, both).words == "loss"
    assert change(90.0, 85.0, "pruned/a", 2000, both) == change(90.0, 85.0, "pruned/b", 2000, both)


HEADER = ",".join(verdict.COLUMNS)
OWN = [{"model": "baseline", "n": 2000, "top1_pct": 90.0, "difference_points": math.nan}, row("pruned/a", -1, -2, 0, 1)]


def read(path: Path, *lines: str) -> Replicates:
    path.write_text("\n".join([HEADER, *lines, ""]))
    return Replicates.read(path, OWN, [])


def test_replicates_are_read_if_one_seed_is_the_evaluation(tmp_path: Path) -> None:
    lines = [f"{seed},{line}" for seed, points in ((1, -2), (0, -1)) for line in (
        f"baseline,,2000,{90.0 if seed == 0 else 91.0},,,,",
        f"pruned/a,baseline,2000,{90 + points},{points},10,30,0.01",
    )]  # fmt: skip
    found = read(tmp_path / "replicates.csv", *lines)
    assert found
    assert (found.seeds, found.stale) == ([1, 0], None)
    assert [row["difference_points"] for row in found.of("pruned/a", "baseline")] == [-2.0, -1.0]
    assert [row["top1_pct"] for row in found.of("baseline")] == [91.0, 90.0]
    found = read(tmp_path / "replicates.csv", *(line.replace("90.0", "90.5") for line in lines))
    assert not found
    assert found.stale is not None
    assert "replicates.csv: not of this evaluation" in found.stale


def test_rows_of_pairs_that_have_no_accuracy_are_compared_by_what_they_have(tmp_path: Path) -> None:
    path = tmp_path / "replicates.csv"
    lines = [f"{seed},pruned/a,pruned/control,2000,89.0,{points},10,30,0.01" for seed, points in ((0, -1.0), (1, -2.0))]
    path.write_text("\n".join([HEADER, *lines, ""]))
    pair = {"model": "pruned/a", "reference": "pruned/control", "n": 2000, "difference_points": -1.0}
    assert Replicates.read(path, OWN, [pair]).seeds == [0, 1]
    assert Replicates.read(path, OWN, [{**pair, "difference_points": -0.5}]).stale is not None


def test_no_file_and_a_header_alone_are_no_replicates_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    for found in (Replicates.read(tmp_path / "none.csv", OWN, []), read(tmp_path / "replicates.csv")):
        assert not found
        assert found.stale is None
    with pytest.raises(UserError, match=r"replicates\.csv: damaged table"):
        read(tmp_path / "replicates.csv", "0,baseline,,many,,,,,")
    (tmp_path / "replicates.csv").write_text("seed,model\n")
    with pytest.raises(UserError, match="its columns must be seed, model, reference"):
        Replicates.read(tmp_path / "replicates.csv", OWN, [])
