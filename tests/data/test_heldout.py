"""The one door to the test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deepcompress.data import store
from deepcompress.data.heldout import open_heldout
from deepcompress.data.row_file import RowFile
from deepcompress.errors import UserError
from tests.data import inputs


def test_images_are_in_their_file_and_read_only(tmp_path: Path) -> None:
    source = inputs.source()
    meta = store.write_fit(tmp_path / "fit", source, validation_fraction=0.25, seed=0)
    store.write_heldout(tmp_path / "heldout", source, meta=meta)
    images = open_heldout(tmp_path / "heldout").arrays.images
    assert isinstance(images, RowFile)
    with pytest.raises(ValueError, match="read-only"):
        np.asarray(images)[0] = 0


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere/meta\.json: no such file"):
        open_heldout(tmp_path / "nowhere")
