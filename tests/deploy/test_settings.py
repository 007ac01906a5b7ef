"""The sections `deploy` and `benchmark`: limits, counts, names once each, models of the plan alone; without torch."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress import params
from deepcompress.deploy.settings import Benchmark, Deploy, require_planned
from deepcompress.errors import UserError
from tests.deploy.conftest import DEPLOY

COUNTS = {"batch_sizes": [1, 32], "warm_up": 0, "rounds": 1, "threads": None}
BENCHMARK = {"models": ["baseline"], "engines": ["pytorch"], **COUNTS}
SECTIONS: dict[str, tuple[Any, dict[str, Any]]] = {"deploy": (Deploy, DEPLOY), "benchmark": (Benchmark, BENCHMARK)}


def test_the_sections_are_read() -> None:
    deploy = params.validate(Deploy, DEPLOY | {"max_macs_million": 5.5}, "deploy")
    assert (deploy.max_drop_points, deploy.max_size_mib, deploy.max_macs_million) == (1.0, None, 5.5)
    assert deploy.required_agreement(integers=True) == ("deploy.integer_agreement_pct", 98.0)
    assert deploy.required_agreement(integers=False) == ("deploy.float_agreement_pct", 99.9)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("deploy", {"max_drop_points": -0.1}, "max_drop_points must be greater than or equal to 0, got -0.1"),
        ("deploy", {"max_drop_points": float("nan")}, "max_drop_points must be"),
        ("deploy", {"max_size_mib": 0}, "max_size_mib.* must be greater than 0, got 0"),
        ("deploy", {"integer_agreement_pct": 101}, "integer_agreement_pct must be less than or equal to 100, got 101"),
        ("deploy", {"max_size": 3}, "max_size is unknown; allowed: .*did you mean max_size_mib"),
        ("benchmark", {"models": []}, "models must name at least one, or be null for all"),
        ("benchmark", {"models": ["a", "a"]}, "models must each be named once"),
        ("benchmark", {"batch_sizes": [1, 1]}, "batch_sizes must each be named once"),
        ("benchmark", {"batch_sizes": [0]}, "batch_sizes"),
    ],
)
def test_a_mistake_is_one_clear_line(name: str, change: dict[str, Any], message: str) -> None:
    section, good = SECTIONS[name]
    with pytest.raises(UserError, match=f"{name}.{message}"):
        params.validate(section, good | change, name)


def test_models_to_time_are_all_or_some_of_the_plan() -> None:
    require_planned(params.validate(Benchmark, BENCHMARK | {"models": None}, "benchmark"), [])
    section = params.validate(Benchmark, BENCHMARK | {"models": ["baseline", "gone"]}, "benchmark")
    with pytest.raises(
        UserError,
        match=r"benchmark\.models must be among the models of the plan, got 'gone'; there are baseline, shipped/pruned",
    ):
        require_planned(section, ["baseline", "shipped/pruned"])
