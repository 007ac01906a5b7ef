"""The test images: only `evaluate` and `export`, which report final numbers, may import this.

Choices (early stopping, sensitivity, allocation) use the validation images of data/store.py, so that the test
images tell how good the choice was.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deepcompress.data.store import Arrays, Meta, open_arrays, read_meta
from deepcompress.params import DEVICE_BUDGET_MIB


@dataclass(frozen=True)
class HeldOut:
    """The test images and what is known of the data."""

    arrays: Arrays
    meta: Meta


def open_heldout(folder: Path, budget_mib: int = DEVICE_BUDGET_MIB) -> HeldOut:
    """Test images that `store.write_heldout` wrote, mapped; a UserError names a missing or damaged file."""
    meta = read_meta(folder)
    return HeldOut(open_arrays(folder, meta, prefix="", budget_mib=budget_mib), meta)
