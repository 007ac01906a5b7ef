"""The losses on features: hand-worked numbers, matched layers, and pairs that cannot be matched."""

import math

import pytest
import torch

from deepcompress.distillation.loss import DistillBatch, LossContext, Outputs, Tap
from deepcompress.distillation.losses import at, hint, sp
from deepcompress.errors import UserError
from tests.distillation.conftest import distill_batch, make_network

ONE = Tap("features.0")


def batch(student: torch.Tensor, teacher: torch.Tensor, tap: Tap = ONE) -> DistillBatch:
    labels = torch.zeros(len(student), dtype=torch.long)
    return DistillBatch(Outputs(None, {tap: student}), Outputs(None, {tap: teacher}), labels, labels, 1)


def test_hint_is_the_mean_square_behind_the_regressor(context) -> None:
    made = hint.build(hint.Options(guided_layer=ONE.layer, hint_layer=ONE.layer), context)
    made.regressor = torch.nn.Conv2d(1, 2, kernel_size=1)
    with torch.no_grad():
        made.regressor.weight.copy_(torch.tensor([2.0, -1.0])[:, None, None, None])
        made.regressor.bias.zero_()
    student, teacher = torch.full((1, 1, 2, 2), 3.0), torch.zeros(1, 2, 2, 2)
    assert made(batch(student, teacher)).item() == pytest.approx((36 + 9) / 2)


@pytest.mark.parametrize(
    ("teacher", "role", "student_layer", "teacher_layer"),
    [
        ("vgg16", "block4.conv1", "features.11", "features.17"),  # the source report's pair
        ("vgg19", "block4.conv1", "features.11", "features.19"),
        ("vgg16", "block3", "features.9", "features.15"),
        ("vgg19", "block4.relu1", "features.12", "features.20"),
    ],
)
def test_roles_match_layers_across_depths(teacher, role, student_layer, teacher_layer) -> None:
    pair = make_network(batch_norm=False), make_network(teacher, batch_norm=False)
    made = hint.build(hint.Options(guided_layer=role, hint_layer=role), LossContext(*pair, torch.arange(4)))
    assert (made.student_taps, made.teacher_taps) == ((Tap(student_layer),), (Tap(teacher_layer),))
    as_they_are = hint.Options(guided_layer=student_layer, hint_layer=teacher_layer)
    assert hint.build(as_they_are, LossContext(*pair, torch.arange(4))).student_taps == made.student_taps


def test_two_stages_ask_for_the_first_epochs_alone(context) -> None:
    for stages, exclusive in ((2, 3), (1, 0)):
        assert hint.build(hint.Options(stages=stages, first_stage_epochs=3), context).exclusive_epochs == exclusive


def test_attention_is_the_mean_square_of_the_channels_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 0.0]], [[1.0, 2.0]]]])  # two channels of two pixels: mean squares 1 and 2
    torch.testing.assert_close(at.attention(maps), torch.tensor([[1.0, 2.0]]) / math.sqrt(5))


def test_at_does_not_see_the_size_nor_the_number_of_channels(context) -> None:
    made = at.build(at.Options(layers=(ONE.layer,)), context)
    maps = torch.rand(3, 2, 4, 4)
    assert made(batch(maps, 5 * maps.repeat(1, 3, 1, 1))).item() == pytest.approx(0, abs=1e-12)


def test_at_adds_up_its_layers(context, student, teacher) -> None:
    def of(*layers: str) -> float:
        made = at.build(at.Options(layers=layers), context)
        return made(distill_batch(made, student, teacher)).item()

    assert of("block3", "block4") == pytest.approx(of("block3") + of("block4"), rel=1e-5)


def test_at_refuses_maps_of_other_sides(context) -> None:
    with pytest.raises(UserError, match=r"distill.methods.at.layers: features.15 gives maps of"):
        at.build(at.Options(layers=("features.15",)), context)


def test_similarities_are_inner_products_with_rows_of_length_1_by_hand() -> None:
    maps = torch.tensor([[3.0, 4.0], [0.0, 1.0]])[:, :, None, None]
    expected = torch.tensor([[25.0, 4.0], [4.0, 1.0]])
    torch.testing.assert_close(sp.similarities(maps), expected / expected.norm(dim=1, keepdim=True))


def test_sp_does_not_see_a_turn_of_the_features(context) -> None:
    made, maps = sp.build(sp.Options(layer=ONE.layer), context), torch.rand(5, 3, 1, 1)
    turn = torch.linalg.qr(torch.randn(3, 3))[0]
    turned = torch.einsum("oc,bcij->boij", turn, maps)
    assert made(batch(maps, turned)).item() == pytest.approx(0, abs=1e-10)
