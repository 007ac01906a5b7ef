"""The contract survives the way through metadata, and other metadata is refused in one line."""

from __future__ import annotations

import pytest

from deepcompress.deploy.contract import Contract, from_metadata
from deepcompress.errors import UserError

CONTRACT = Contract(("ant", "bee, or 'wasp'", "käfer"), 32, 40)


def test_metadata_holds_the_contract() -> None:
    assert from_metadata("a.onnx", CONTRACT.to_metadata()) == CONTRACT
    assert CONTRACT.to_metadata()["contract.images"].startswith("uint8 (n, 3, 32, 32): RGB")
    assert list(CONTRACT.to_metadata()) == sorted(CONTRACT.to_metadata())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, r"a\.onnx: no model that this pipeline exported"),
        ({"classes": "ant, bee"}, r"a\.onnx: damaged metadata"),
        ({"classes": "3"}, r"a\.onnx: damaged metadata"),
        ({"image_size": "large"}, r"a\.onnx: damaged metadata"),
    ],
)
def test_other_metadata_is_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_metadata("a.onnx", CONTRACT.to_metadata() | change)


def test_a_missing_entry_is_refused() -> None:
    metadata = CONTRACT.to_metadata()
    del metadata["stored_size"]
    with pytest.raises(UserError, match="damaged metadata"):
        from_metadata("a.onnx", metadata)
