"""What every encoding must keep: it gives back equal tensors, and refuses damaged parts with a ValueError."""

from __future__ import annotations

import pytest
import torch

from deepcompress import registry

NAMES = registry.names("models.encodings")


@pytest.mark.parametrize("name", NAMES)
def test_zeros_come_back(name: str) -> None:
    encoding = registry.find("models.encodings", name)
    tensor = torch.zeros(4, 3, 3, 3)
    assert torch.equal(encoding.decode(encoding.encode(tensor), tensor.shape, tensor.dtype), tensor)


@pytest.mark.parametrize("name", NAMES)
def test_parts_are_plain_tensors_with_plain_names(name: str) -> None:
    parts = registry.find("models.encodings", name).encode(torch.ones(4, 4))
    assert all(isinstance(part, torch.Tensor) and part.is_contiguous() for part in parts.values())
    assert all(key.isidentifier() for key in parts)


@pytest.mark.parametrize("name", NAMES)
def test_missing_parts_are_refused(name: str) -> None:
    encoding = registry.find("models.encodings", name)
    with pytest.raises(ValueError, match="parts"):
        encoding.decode({}, torch.Size([4, 4]), torch.float32)
