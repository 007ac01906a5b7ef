"""The sections `deploy` and `benchmark`: limits, and models of the plan alone; tests/test_sections.py has the rest."""

from __future__ import annotations

import pytest

from deepcompress import params
from deepcompress.deploy.settings import Benchmark, Deploy, require_planned
from deepcompress.errors import UserError
from tests.deploy.conftest import DEPLOY

BENCHMARK = {"engines": ["pytorch"], "batch_sizes": [1, 32], "warm_up": 0, "rounds": 1, "threads": None}


def test_the_sections_are_read() -> None:
    deploy = params.validate(Deploy, DEPLOY | {"max_macs_million": 5.5}, "deploy")
    assert (deploy.max_drop_points, deploy.max_size_mib, deploy.max_macs_million) == (1.0, None, 5.5)
    assert deploy.required_agreement(integers=True) == ("deploy.integer_agreement_pct", 98.0)
    assert deploy.required_agreement(integers=False) == ("deploy.float_agreement_pct", 99.9)


def test_models_to_time_are_all_or_some_of_the_plan() -> None:
    require_planned(params.validate(Benchmark, BENCHMARK | {"models": None}, "benchmark"), [])
    section = params.validate(Benchmark, BENCHMARK | {"models": ["baseline", "gone"]}, "benchmark")
    with pytest.raises(
        UserError,
        match=r"benchmark\.models must be among the models of the plan, got 'gone'; there are baseline, shipped/pruned",
    ):
        require_planned(section, ["baseline", "shipped/pruned"])
