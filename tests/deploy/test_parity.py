"""Parity counts equal answers, measures the furthest logit, and stops a file that disagrees too often."""

from __future__ import annotations

import pytest
import torch

from deepcompress.deploy.classifier import OnnxClassifier
from deepcompress.deploy.parity import Parity, compare, require
from deepcompress.errors import UserError
from tests.deploy.conftest import Exported

LIMIT = "deploy.integer_agreement_pct"


def test_a_faithful_file_agrees_everywhere(exported: Exported) -> None:
    parity = compare(OnnxClassifier(exported.float_file), exported.logits, exported.images)
    assert (parity.n, parity.agreement_pct) == (80, 100.0)
    assert len(exported.logits.argmax(1).unique()) > 1
    assert parity.largest_difference < 1e-3
    assert parity.top1_pct == parity.model_top1_pct


def test_numbers_are_those_of_the_logits(exported: Exported) -> None:
    other = exported.logits.clone()
    other[:20] = -other[:20]
    parity = compare(OnnxClassifier(exported.float_file), other, exported.images)
    assert parity.agreement_pct == 75.0  # the highest logit of an image is not its lowest
    assert parity.largest_difference == pytest.approx(2 * exported.logits[:20].abs().max().item(), rel=1e-4)
    labels = torch.from_numpy(exported.images.labels)
    assert parity.top1_pct == pytest.approx(100 * (exported.logits.argmax(1) == labels).double().mean().item())
    assert parity.model_top1_pct == pytest.approx(100 * (other.argmax(1) == labels).double().mean().item())


def test_a_file_that_disagrees_too_often_is_refused_with_its_numbers() -> None:
    parity = Parity(n=1000, agreement_pct=96.9, largest_difference=0.8, top1_pct=90.0, model_top1_pct=91.0)
    require(parity, (LIMIT, 96.9), name="a.onnx")
    message = (
        r"^a\.onnx agrees with the checkpoint on 96\.90 % of 1000 held-out images \(at least 98 % required, "
        r"params\.yaml: deploy\.integer_agreement_pct; largest difference of a logit 0\.8\)$"
    )
    with pytest.raises(UserError, match=message):
        require(parity, (LIMIT, 98.0), name="a.onnx")


def test_few_images_that_cannot_tell_let_a_file_through_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """61 of 64: Wilson's interval reaches 98.4 %; 60 of 64: 97.5 %."""
    enough, fewer = (Parity(64, 100 * right / 64, 0.1, 30.0, 30.0) for right in (61, 60))
    require(enough, (LIMIT, 98.0), name="a.onnx")
    assert "too few images to tell (95 % interval up to 98.39 %)" in caplog.text
    with pytest.raises(UserError, match=r"93\.75 % of 64"):
        require(fewer, (LIMIT, 98.0), name="a.onnx")


def test_logits_that_are_no_numbers_are_refused() -> None:
    parity = Parity(n=10, agreement_pct=100.0, largest_difference=float("nan"), top1_pct=0.0, model_top1_pct=0.0)
    with pytest.raises(UserError, match="largest difference of a logit nan"):
        require(parity, (LIMIT, 0.0), name="a.onnx")
