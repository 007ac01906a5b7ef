"""The sections `deploy` and `benchmark`: limits, and models of the plan alone; tests/test_sections.py has the rest."""

import pytest

from deepcompress import params
from deepcompress.deploy.settings import Benchmark, Deploy, require_planned
from deepcompress.errors import UserError
from tests.deploy.conftest import DEPLOY

BENCHMARK = {"engines": ["pytorch"], "batch_sizes": [1, 32], "warm_up": 0, "rounds": 1, "threads": None}


def test_files_in_integers_and_in_floats_have_limits_of_their_own() -> None:
    deploy = Deploy(**DEPLOY)
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
