"""What every spec refuses: keys that are missing or too many, and numbers out of range."""

from __future__ import annotations

from typing import Any

import pytest

from deepcompress.errors import UserError
from deepcompress.models.checks import fields_of, require_whole
from deepcompress.models.spec import FAMILIES

SPECS = pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)


@SPECS
def test_all_fields_and_no_other_come_back(spec: type) -> None:
    values = dict.fromkeys(spec.__dataclass_fields__, 1)  # type: ignore[attr-defined]
    assert fields_of(spec, values) == values


@SPECS
@pytest.mark.parametrize("values", [None, [], "vgg11", 3])
def test_no_mapping_is_refused_with_its_type(spec: Any, values: Any) -> None:
    with pytest.raises(UserError, match=f"^spec must be a mapping, got {type(values).__name__}$"):
        spec.from_dict(values)


@SPECS
def test_a_key_too_few_or_too_many_is_refused_with_all_that_are_needed(spec: Any) -> None:
    names = list(spec.__dataclass_fields__)
    for given in (names[1:], [*names, "depth"], []):
        with pytest.raises(UserError) as raised:
            spec.from_dict(dict.fromkeys(given, 1))
        assert str(raised.value) == f"spec must have the keys {', '.join(names)}; got {', '.join(given)}"


@pytest.mark.parametrize("value", [0, 10, 2.0, True, "2", None])
def test_what_is_no_whole_number_in_the_range_is_refused_by_name(value: Any) -> None:
    require_whole("classes", 1, 1, 9)
    require_whole("classes", 9, 1, 9)
    with pytest.raises(UserError, match=f"^classes must be a whole number in 1..9, got {value!r}$"):
        require_whole("classes", value, 1, 9)
