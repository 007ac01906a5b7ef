"""Specs: what params ask for, what a description holds, and what is refused."""

from typing import Any

import pytest

from deepcompress import params
from deepcompress.errors import UserError
from deepcompress.models.spec import FAMILIES, GraphSpec, Model, VGGSpec, asked, deepest_blocks, layer_name
from tests import nets
from tests.models.conftest import TINY

VGG11 = {"arch": "vgg11", "batch_norm": True, "width": 0.25, "hidden": 4096, "dropout": 0.5, "image_size": 32}
RESNET18 = {**dict.fromkeys(VGG11), "arch": "resnet18", "image_size": 32}


def test_width_multiplies_convolutions_and_hidden_layers() -> None:
    made = asked(params.validate(Model, VGG11, "model"), classes=20)
    assert made.features == (16, 32, 64, 64, 128, 128, 128, 128)
    assert made.hidden == (1024, 1024)
    assert (made.classes, made.image_size, made.dropout, made.batch_norm) == (20, 32, 0.5, True)
    assert asked(params.validate(Model, RESNET18, "model"), classes=20) == GraphSpec("resnet18", 20, 32)


GRAPH = GraphSpec("resnet18", 4, 32, (("conv1", (8, 3, 1)),))


@pytest.mark.parametrize(
    ("good", "change", "named"),
    [
        (TINY, {"arch": "vgg12"}, "arch: Input should be 'vgg11', 'vgg13', 'vgg16' or 'vgg19', got 'vgg12'"),
        (TINY, {"features": [1] * 7}, "features: must be 8 widths, got"),
        (TINY, {"features": [1] * 7 + [0]}, "features.7: Input should be greater than or equal to 1, got 0"),
        (TINY, {"hidden": [4]}, "hidden.1: Field required"),
        (TINY, {"image_size": 31}, "image_size: Input should be greater than or equal to 32, got 31"),
        (TINY, {"dropout": float("nan")}, "dropout"),
        (TINY, {"depth": 3}, "depth: Unexpected keyword argument"),
        (GRAPH, {"arch": "vgg11"}, "arch: a VGG has a spec of its own"),
        (GRAPH, {"classes": 0}, "classes: Input should be greater"),
        (GRAPH, {"widths": {"conv1": [0, 3, 1]}}, "widths.0.1.0: Input should be greater than or equal to 1"),
        (GRAPH, {"widths": {"conv1": 8}}, "widths.0.1: Input should be a valid array"),
        (GRAPH, {"widths": {"conv1": []}}, "widths.0.1: Tuple should have at least 1 item"),
        (GRAPH, {"widths": 3}, "widths: Input should be a valid array"),
    ],
)
def test_a_bad_value_is_refused_by_name(good: VGGSpec | GraphSpec, change: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=named):
        type(good).from_dict(good.to_dict() | change)


@pytest.mark.parametrize("spec", FAMILIES.values(), ids=FAMILIES)
@pytest.mark.parametrize("values", [None, [], "vgg11", 3, {}])
def test_no_mapping_and_a_key_too_few_are_refused(spec: Any, values: Any) -> None:
    named = f"^spec must be a mapping, got {type(values).__name__}$" if values != {} else "^spec: arch: Field required"
    with pytest.raises(UserError, match=named):
        spec.from_dict(values)


@pytest.mark.parametrize("role", ["block6", "block1.conv2", "features.99", "block4.norm1", "classifier.0"])
def test_an_unknown_role_lists_what_there_is(role: str) -> None:
    with pytest.raises(UserError, match=r"does not exist in a vgg11; there are block1.conv1 \(features.0\), block1"):
        layer_name(nets.spec("vgg11", batch_norm=False), role)


@pytest.mark.parametrize(("size", "expected"), [(32, ("block3", "block4")), (224, ("block4", "block5"))])
def test_maps_to_compare_have_four_by_four_places_or_more(size: int, expected: tuple[str, ...]) -> None:
    assert deepest_blocks(size) == expected
