"""Plug-ins are found by file name."""

from __future__ import annotations

import pytest

from deepcompress import registry
from deepcompress.errors import UserError


def test_a_plugin_is_found_by_its_file_name() -> None:
    assert "shapes" in registry.names("data.sources")
    assert registry.find("data.sources", "shapes").__name__ == "deepcompress.data.sources.shapes"


def test_an_unknown_plugin_is_refused_with_the_list_of_those_there_are() -> None:
    with pytest.raises(UserError, match=r"params.yaml: data.source must be one of .*cifar100.*shapes; got 'nope'"):
        registry.find("data.sources", "nope", "data.source")


def test_a_name_cannot_leave_the_package() -> None:
    for name in ("../params", "__init__", "_helper", "shapes.Options"):
        with pytest.raises(UserError):
            registry.find("data.sources", name)
