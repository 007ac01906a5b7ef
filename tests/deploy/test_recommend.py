"""The choice on hand-worked models: the front, the limits, ties, and what is result when nothing keeps to them."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from deepcompress.deploy import recommend
from deepcompress.deploy.recommend import Candidate
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import UserError
from tests.deploy.conftest import DEPLOY

MIB = 2**20
# Of 200 images; a right answer is half a point.
MODELS = [
    Candidate("baseline", 180, 200, 8 * MIB, 10_000_000),
    Candidate("pruned/structured-0.5", 178, 200, 4 * MIB, 5_000_000),  # exactly one point lost
    Candidate("pruned/unstructured-0.5", 184, 200, 4 * MIB, 10_000_000),
    Candidate("quantized/ptq-int4", 170, 200, MIB, 10_000_000),  # five points lost
    Candidate("quantized/ptq-int8", 178, 200, 2 * MIB, 10_000_000),
    Candidate("shipped/pruned", 177, 200, 5 * MIB, 5_000_000),  # dominated by pruned/structured-0.5
]


def limits(**changed: float | None) -> Deploy:
    return Deploy.model_validate(DEPLOY | changed)


def chosen(candidates: list[Candidate], **changed: float | None) -> str:
    return recommend.ranked(candidates, limits(**changed))[0].model


def test_a_model_is_off_the_front_exactly_when_another_is_nowhere_worse_and_somewhere_better() -> None:
    draw = random.Random(0)
    models = [Candidate(f"m{i}", draw.randrange(5), 5, draw.randrange(5), draw.randrange(5)) for i in range(60)]
    dominated = {
        row.model
        for row, other in itertools.permutations(models, 2)
        if other.right >= row.right
        and other.size_bytes <= row.size_bytes
        and other.macs <= row.macs
        and (other.right, other.size_bytes, other.macs) != (row.right, row.size_bytes, row.macs)
    }
    assert recommend.front(models) == {row.model for row in models} - dominated
    twins = [Candidate("a", 9, 10, 5, 5), Candidate("b", 9, 10, 5, 5)]
    assert recommend.front(twins) == {"a", "b"}
    assert recommend.front([]) == set()


def test_the_smallest_file_within_the_limits_wins_and_exactly_a_limit_is_within() -> None:
    assert chosen(MODELS) == "quantized/ptq-int8"
    assert chosen(MODELS, max_drop_points=0.99) == "pruned/unstructured-0.5"
    assert chosen(MODELS, max_drop_points=5.0) == "quantized/ptq-int4"
    assert chosen(MODELS, max_drop_points=5.0, max_size_mib=1.0) == "quantized/ptq-int4"
    assert chosen(MODELS, max_macs_million=5.0) == "pruned/structured-0.5"


def test_a_slow_model_is_left_out_only_when_latency_is_limited() -> None:
    slow = [Candidate(m.model, m.right, m.n, m.size_bytes, m.macs, 9.0 if "int8" in m.model else 1.0) for m in MODELS]
    assert chosen(slow) == "quantized/ptq-int8"
    assert chosen(slow, max_latency_ms=2.0) == "pruned/structured-0.5"
    with pytest.raises(ValueError, match="baseline was not timed, but max_latency_ms is set"):
        chosen(MODELS, max_latency_ms=2.0)


def test_ties_go_to_fewer_macs_then_accuracy_then_the_id() -> None:
    base = Candidate("baseline", 10, 10, 9, 9)
    fewer, better = Candidate("z", 9, 10, 5, 4), Candidate("b", 10, 10, 5, 5)
    same, worse = Candidate("a", 10, 10, 5, 5), Candidate("0", 9, 10, 5, 5)
    order = recommend.ranked([base, worse, same, better, fewer], limits(max_drop_points=10.0))
    assert [row.model for row in order] == ["z", "a", "b", "0", "baseline"]


def test_the_reason_is_one_sentence_with_the_numbers_whatever_the_order_of_the_models() -> None:
    result = recommend.recommendation(MODELS, limits())
    assert all(recommend.recommendation(list(order), limits()) == result for order in itertools.permutations(MODELS))
    assert (result["model"], result["runner_up"], result["n"]) == ("quantized/ptq-int8", "pruned/structured-0.5", 200)
    assert result["reason"] == (
        "quantized/ptq-int8 has the smallest file of the 4 of 6 models with at most 1 point lost: 2.00 MiB, 4.0 times "
        "smaller than the baseline; 89.0 % top-1 on 200 validation images, 1 point below the baseline."
    )
    assert result["validation"] == {
        "top1_pct": 89.0, "baseline_top1_pct": 90.0, "drop_points": 1.0,
        "drop_points_low": None, "drop_points_high": None,
    }  # fmt: skip


@pytest.mark.parametrize(("right", "warned"), [(20, True), (26, True), (27, True), (29, False), (180, False)])
def test_a_baseline_that_may_be_at_chance_is_warned_of(right: int, warned: bool) -> None:
    baseline = dataclasses.replace(MODELS[0], right=right)  # one of ten classes alone is right in 20 of 200
    reason = recommend.recommendation([baseline], limits(), 20)["reason"]
    warning = f"not shown to have learnt anything: {right / 2:.1f} % top-1, where always naming one class gives 10.0 %"
    assert (warning in reason) == warned


def test_the_interval_is_given_where_it_is_known_and_the_baseline_may_recommend_itself() -> None:
    models = [MODELS[0], dataclasses.replace(MODELS[4], drop_interval=(-0.5, 2.54))]
    result = recommend.recommendation(models, limits())
    assert result["reason"].endswith(
        "1 point below the baseline (95 % interval over images, not trainings: −2.5 to +0.5)."
    )
    assert (result["validation"]["drop_points_low"], result["validation"]["drop_points_high"]) == (-0.5, 2.54)
    assert [row["drop_points_high"] for row in recommend.rows(models, limits())] == [None, 2.54]
    alone = recommend.recommendation(models[:1], limits(max_drop_points=0.0))
    assert (alone["model"], alone["runner_up"], alone["times_smaller"]) == ("baseline", None, 1.0)
    assert alone["reason"].endswith("MiB; 90.0 % top-1 on 200 validation images.")


def test_a_model_stands_beside_its_control_on_the_same_images() -> None:
    """Of four images the baseline has two, the control three, and the model loses one of those and wins none."""
    answers = {
        name: np.array(right, dtype=bool)
        for name, right in {"baseline": [1, 1, 0, 0], "control": [1, 1, 1, 0], "model": [1, 0, 1, 0]}.items()
    }
    row = recommend._against(Candidate("model", 2, 4, 1, 1), "control", answers)
    assert row.drop_interval is not None
    assert row.control_drop is not None
    assert sum(row.drop_interval) == pytest.approx(0)
    points, low, high = row.control_drop
    assert (row.control, points) == ("control", 25.0)
    assert low < 25.0 < high
    alone = recommend._against(Candidate("model", 2, 4, 1, 1), "not measured", answers)
    assert (alone.control, alone.control_drop) == (None, None)
    first = Candidate("baseline", 2, 4, 1, 1)
    assert recommend._against(first, None, answers) == first


def test_confident_limits_ask_the_upper_end_of_the_interval() -> None:
    some = [MODELS[0]] + [
        dataclasses.replace(model, drop_interval=(-2.0, high))
        for model, high in zip(MODELS[1:], (1.0, 0.5, 6.0, 2.54, 3.0), strict=True)
    ]
    result = recommend.recommendation(some, limits(confident=True))
    assert result["model"] == "pruned/structured-0.5"
    assert "models with at most 1 point lost by the upper end of the 95 % interval: " in result["reason"]
    table = {row["model"]: row["why_not"] for row in recommend.rows(some, limits(confident=True, max_size_mib=4.0))}
    assert table["quantized/ptq-int8"] == "up to 2.54 points lost, at most 1"
    assert table["shipped/pruned"] == "up to 3 points lost, at most 1; 5 MiB, at most 4"


def test_a_row_says_why_a_model_is_not_allowed() -> None:
    table = {row["model"]: row for row in recommend.rows(MODELS, limits(max_size_mib=4.0))}
    assert table["quantized/ptq-int8"]["allowed"]
    assert table["quantized/ptq-int8"]["why_not"] == ""
    assert table["shipped/pruned"]["why_not"] == "1.5 points lost, at most 1; 5 MiB, at most 4"
    assert table["quantized/ptq-int4"]["on_front"]
    low, high = (table["baseline"][f"validation_top1_pct_{side}"] for side in ("low", "high"))
    assert (low, high) == (85.06, 93.43)  # Wilson, 180 of 200


@pytest.mark.parametrize(
    ("models", "changed", "why"),
    [
        (MODELS, {"max_size_mib": 0.9}, r"max_size_mib 0\.9 excludes most, 6 of 6; {} \(2 MiB, at most 0\.9\)"),
        ([MODELS[0], MODELS[1], MODELS[4]], {"max_drop_points": 0.0, "max_size_mib": 2.0},  # two lose a point
         r"max_drop_points 0 excludes most, 2 of 3; {} \(1 point lost, at most 0\)"),
    ],
)  # fmt: skip
def test_without_any_good_model_the_worst_limit_and_the_nearest_model_are_named(
    models: list[Candidate], changed: dict[str, float], why: str
) -> None:
    named = why.format("nearest is quantized/ptq-int8")
    with pytest.raises(UserError, match=f"no model keeps to the limits under deploy; {named}"):
        chosen(models, **changed)
