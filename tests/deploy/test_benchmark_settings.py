"""The section `benchmark`: counts, names once each, and models of the plan alone."""

from __future__ import annotations

import json

import pytest

from deepcompress.deploy.benchmark_settings import Benchmark, require_planned
from deepcompress.errors import UserError

GIVEN = {"models": ["baseline"], "batch_sizes": [1, 32], "warm_up": 0, "rounds": 1, "threads": None}


def made(**changes: object) -> Benchmark:
    return Benchmark.model_validate_json(json.dumps(GIVEN | changes))


def test_all_models_and_all_cores_may_be_meant_by_null() -> None:
    assert made(models=None).models is None
    require_planned(made(models=None), [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"models": []}, "models must name at least one, or be null for all"),
        ({"models": ["a", "a"]}, "models must each be named once"),
        ({"batch_sizes": [1, 1]}, "batch_sizes must each be named once"),
        ({"batch_sizes": []}, "batch_sizes"),
        ({"batch_sizes": [0]}, "batch_sizes"),
        ({"rounds": 0}, "rounds"),
        ({"warm_up": -1}, "warm_up"),
        ({"threads": 0}, "threads"),
    ],
)
def test_impossible_values_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**change)


def test_a_model_outside_of_the_plan_is_named_with_those_there_are() -> None:
    with pytest.raises(UserError, match=r"benchmark\.models must be among baseline, shipped/pruned; got 'gone'"):
        require_planned(made(models=["baseline", "gone"]), ["baseline", "shipped/pruned"])
