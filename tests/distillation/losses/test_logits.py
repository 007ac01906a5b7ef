"""The losses on logits against numbers worked by hand and against their formulas in 64 bits."""

import pytest
import torch
import torch.nn.functional as F

from deepcompress import params
from deepcompress.distillation.loss import DistillBatch, Loss, Outputs
from deepcompress.distillation.losses.logit_std import standardised


def made(name: str, **options: float) -> Loss:
    module = params.plugin("distillation.losses", name)
    return module.build(module.Options(**options), None)


LOGIT, LOGIT_STD = made("logit", temperature=3.0), made("logit_std", temperature=2.0)


def value(loss: Loss, teacher, student, labels=None, *, epoch: int = 1) -> torch.Tensor:
    labels = torch.zeros(len(teacher), dtype=torch.long) if labels is None else labels
    return loss(DistillBatch(Outputs(student), Outputs(teacher), labels, labels, epoch))


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    teacher, student = 3 * torch.randn(2, 16, 10, dtype=torch.float64, generator=generator)
    return teacher, student, torch.randint(0, 10, (16,), generator=generator)


def test_logit_is_summed_over_classes_and_averaged_over_images(pair) -> None:
    teacher, student, _ = pair
    p, q = (teacher / 3).softmax(1), (student / 3).softmax(1)
    torch.testing.assert_close(value(LOGIT, teacher, student), 9 * (p * (p / q).log()).sum() / 16)
    torch.testing.assert_close(value(LOGIT, teacher + 5, student - 2), value(LOGIT, teacher, student))


def test_smoothed_logits_without_smoothing_is_logit_and_its_minimum_is_the_mixture(pair) -> None:
    teacher, student, _ = pair
    torch.testing.assert_close(
        value(made("smoothed_logits", temperature=3.0, smoothing=0.0), teacher, student), value(LOGIT, teacher, student)
    )
    mixture = 0.9 * (teacher / 3).softmax(1) + 0.1 / 10
    assert value(
        made("smoothed_logits", temperature=3.0, smoothing=0.1), teacher, 3 * mixture.log()
    ).item() == pytest.approx(0, abs=1e-12)


def test_standardised_logits_have_mean_0_and_deviation_1_by_hand() -> None:
    torch.testing.assert_close(standardised(torch.tensor([[1.0, 2.0, 3.0]])), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_logit_std_does_not_see_size_nor_shift(pair) -> None:
    teacher, student, _ = pair
    once = value(LOGIT_STD, teacher, student)
    torch.testing.assert_close(value(LOGIT_STD, 7 * teacher + 3, 0.2 * student - 1), once, rtol=1e-5, atol=0)
    assert value(LOGIT_STD, teacher, torch.zeros_like(student)).isfinite()  # an answer without preference


def test_dkd_agrees_with_the_authors_form_in_64_bits(pair) -> None:
    """Their way: the target masked by -1000, and logarithms of sums of probabilities."""
    teacher, student, labels = pair
    mask, heat = F.one_hot(labels, 10).bool(), 4.0
    p, q = (teacher / heat).softmax(1), (student / heat).softmax(1)
    two = [torch.stack([x[mask], (x * ~mask).sum(1)], 1) for x in (p, q)]
    target = F.kl_div(two[1].log(), two[0], reduction="batchmean") * heat**2
    rest = [(x / heat - 1000.0 * mask) for x in (teacher, student)]
    others = F.kl_div(rest[1].log_softmax(1), rest[0].softmax(1), reduction="batchmean") * heat**2
    dkd = made("dkd", temperature=heat, alpha=1.0, beta=8.0, warmup_epochs=0)
    torch.testing.assert_close(value(dkd, teacher, student, labels), target + 8 * others, rtol=1e-6, atol=0)


def test_dkd_warms_up_from_the_first_epoch(pair) -> None:
    teacher, student, labels = pair
    dkd = made("dkd", temperature=4.0, alpha=1.0, beta=8.0, warmup_epochs=4)
    whole = value(dkd, teacher, student, labels, epoch=9)
    for epoch, share in ((1, 0.25), (3, 0.75), (4, 1.0)):
        torch.testing.assert_close(value(dkd, teacher, student, labels, epoch=epoch), share * whole)
