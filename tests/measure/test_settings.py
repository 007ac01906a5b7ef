"""The `explain` section: its limits."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.measure.settings import Explain
from tests.explain.conftest import EXPLAIN


def test_the_block_is_read() -> None:
    assert params.validate(Explain, EXPLAIN, "explain").jitter.hue == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ssim_window": 8}, "explain.ssim_window must be odd, got 8"),
        ({"strip_images": 5}, "explain.strip_images must be at most images, got 5 of 4"),
        ({"jitter": {"hue": 0.7}}, "explain.jitter.hue must be less than or equal to 0.5, got 0.7"),
        ({"robustness": {"fgsm": 2}}, "explain.robustness.fgsm must be less than or equal to 1, got 2"),
        ({"window": 7}, "explain.window is unknown; allowed: images"),
    ],
)
def test_a_mistake_is_one_clear_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        params.validate(Explain, EXPLAIN | change, "explain")
