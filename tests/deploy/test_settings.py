"""The `deploy` section: its limits, and without torch."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from deepcompress import params
from deepcompress.deploy.settings import Deploy
from deepcompress.errors import UserError

BLOCK: dict[str, Any] = {
    "max_drop_points": 1,
    "max_size_mib": None,
    "max_macs_million": 5.5,
    "max_latency_ms": None,
    "float_agreement_pct": 99.9,
    "integer_agreement_pct": 98.0,
    "calibration_samples": 512,
    "reduce_range": True,
}


def test_the_block_is_read() -> None:
    found = params.validate(Deploy, BLOCK, "deploy")
    assert (found.max_drop_points, found.max_size_mib, found.max_macs_million) == (1.0, None, 5.5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_drop_points": -1}, "deploy.max_drop_points must be greater than or equal to 0, got -1"),
        ({"max_size_mib": 0}, "deploy.max_size_mib.* must be greater than 0, got 0"),
        ({"integer_agreement_pct": 101}, "deploy.integer_agreement_pct must be less than or equal to 100, got 101"),
        ({"calibration_samples": 0}, "deploy.calibration_samples must be greater than or equal to 1, got 0"),
        ({"reduce_range": "yes"}, "deploy.reduce_range must be"),
        ({"max_size": 3}, "deploy.max_size is unknown; allowed: .*did you mean max_size_mib"),
    ],
)
def test_a_mistake_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        params.validate(Deploy, BLOCK | change, "deploy")


def test_the_section_is_read_without_torch() -> None:
    code = "import sys, deepcompress.deploy.settings; sys.exit('torch' in sys.modules or 'onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
