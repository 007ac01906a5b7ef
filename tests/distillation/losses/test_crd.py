"""Contrastive distillation: the authors' formula in 64 bits, its memories, and negatives of other classes only."""

import math

import pytest
import torch

from deepcompress.distillation.losses import crd
from deepcompress.distillation.losses.crd import Memory, Negatives
from deepcompress.errors import UserError
from tests.distillation.conftest import distill_batch

IMAGES, WIDTH, HEAT = 24, 16, 0.07


@pytest.fixture
def memory() -> Memory:
    torch.manual_seed(0)
    return Memory(IMAGES, width=WIDTH, momentum=0.5, temperature=HEAT)


def embedded(count: int, number: int = 1) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(number)))


def test_a_memory_starts_within_the_authors_range_and_not_at_zero(memory) -> None:
    reach = 1 / math.sqrt(WIDTH / 3)
    assert memory.rows.abs().max() <= reach
    assert 0.9 * reach < memory.rows.abs().max()
    assert (memory.rows != 0).all()


def test_the_loss_is_the_authors_in_64_bits(memory) -> None:
    """K vectors gathered per image, Z from the first batch, Pn = 1 / N, as in crd/memory.py and criterion.py."""
    vectors, positives, negatives = embedded(3), torch.tensor([4, 0, 9]), torch.randint(0, IMAGES, (3, 7))
    value = memory.loss(vectors, positives, negatives).item()
    rows = torch.cat([positives[:, None], negatives], 1)
    scores = torch.einsum("bkw,bw->bk", memory.rows.double()[rows], vectors.double()).div(HEAT).exp()
    scores = scores / (scores.mean() * IMAGES)
    m, pn, eps = 7, 1 / IMAGES, 1e-7
    positive = (scores[:, 0] / (scores[:, 0] + m * pn + eps)).log()
    negative = (m * pn / (scores[:, 1:] + m * pn + eps)).log()
    assert value == pytest.approx(float(-(positive.sum() + negative.sum()) / 3), rel=1e-5)


def test_the_normaliser_is_set_by_the_first_batch_and_then_stays(memory) -> None:
    rows, others = torch.tensor([1, 2]), torch.tensor([[3, 4], [5, 6]])
    scores = (embedded(2) @ memory.rows.T / HEAT).exp().gather(1, torch.cat([rows[:, None], others], 1))
    memory.loss(embedded(2), rows, others)
    first = memory.normaliser.clone()
    assert first.item() == pytest.approx(scores.mean().item() * IMAGES, rel=1e-5)
    memory.loss(embedded(2, 9), rows, others)
    assert torch.equal(memory.normaliser, first)


def test_an_update_moves_half_way_and_back_to_length_one_and_touches_no_other_row(memory) -> None:
    before, rows, new = memory.rows.clone(), torch.tensor([2, 5]), embedded(2)
    memory.update_(new, rows)
    expected = torch.nn.functional.normalize((before[rows] + new) / 2)
    torch.testing.assert_close(memory.rows[rows], expected)
    torch.testing.assert_close(memory.rows[rows].norm(dim=1), torch.ones(2))
    rest = torch.tensor([row for row in range(IMAGES) if row not in (2, 5)])
    assert torch.equal(memory.rows[rest], before[rest])


def test_the_update_does_not_disturb_the_gradient(memory) -> None:
    rows, others = torch.tensor([1, 2]), torch.tensor([[3, 4], [5, 6]])

    def gradient(*, update: bool) -> torch.Tensor:
        vectors = embedded(2).requires_grad_()
        loss = memory.loss(vectors, rows, others)
        if update:
            memory.update_(vectors.detach(), rows)
        loss.backward()
        assert vectors.grad is not None
        return vectors.grad

    assert torch.equal(gradient(update=False), gradient(update=True))


def test_both_sides_are_trained_and_update_their_own_embedding(context, student, teacher) -> None:
    made = crd.build(crd.Options(negatives=8, width=WIDTH, momentum=0.0), context)
    batch = distill_batch(made, student, teacher)
    made(batch).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in made.parameters())
    tap = made.student_taps[0]
    of_student = made.embed_student(batch.student.features[tap])
    of_teacher = made.embed_teacher(batch.teacher.features[tap])
    torch.testing.assert_close(made.student_memory.rows[:8], torch.nn.functional.normalize(of_student))
    torch.testing.assert_close(made.teacher_memory.rows[:8], torch.nn.functional.normalize(of_teacher))


def test_negatives_are_drawn_evenly_from_all_other_classes_of_any_size() -> None:
    labels = torch.tensor([0] * 2 + [1] * 5 + [2] * 3)
    drawn = Negatives(labels, 20_000)(torch.tensor([1, 0]), torch.tensor([3, 0]))
    assert drawn.shape == (2, 20_000)
    assert set(drawn[1].tolist()) == set(range(2, 10))
    shares = torch.bincount(drawn[0], minlength=10).double() / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.2] * 2 + [0.0] * 5 + [0.2] * 3).double(), atol=0.02, rtol=0)


def test_a_single_class_has_no_negatives() -> None:
    with pytest.raises(UserError, match="two classes or more"):
        Negatives(torch.zeros(5, dtype=torch.long), 4)
