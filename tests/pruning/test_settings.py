"""The sections of params.yaml that pruning reads, and what is refused."""

from __future__ import annotations

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.pruning.settings import Prune, Sensitivity
from tests.pruning.conftest import PRUNE
from tests.stages.commands import changed


def test_a_good_section_is_read():
    found = params.validate(Prune, PRUNE, "prune")
    assert found.method_config("structured").criterion == "l2_channel"
    assert found.sweep.sparsities == (0, 0.25)
    assert params.validate(Sensitivity, {"samples": 5, "batch_size": 2}, "sensitivity").sparsities[-1] == 0.9


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("sparsity", 1.0, r"prune\.sparsity must be less than 1"),
        ("sweep.sparsities", [0.25, 1.5], r"prune\.sweep\.sparsities\.1 must be less than 1"),
        ("sweep.sparsities", [0.25, 0.25], "must differ"),
        ("recalibrate", 1, r"prune\.recalibrate must be 0, or 2 or more; one image alone has no statistics"),
        ("structured.criterion", "l9", "prune.structured.criterion must be one of .*l1.*l2_channel.*; got 'l9'"),
        ("structured.criterion", "l1", r"prune\.structured\.criterion must score a channel; l1 scores a weight"),
        ("unstructured.allocation", "best", "allocation must be one of .*by_sensitivity.*; got 'best'"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_key(key, value, message):
    with pytest.raises(UserError, match=message) as raised:
        params.validate(Prune, changed(PRUNE, key, value), "prune")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("sparsities", [[0.1, 0.2], [0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.2], [0.0, 1.0]])
def test_sparsities_of_the_scan_rise_from_zero(sparsities):
    block = {"sparsities": sparsities, "samples": 5, "batch_size": 2}
    with pytest.raises(UserError, match=r"sensitivity(\.sparsities)?"):
        params.validate(Sensitivity, block, "sensitivity")
