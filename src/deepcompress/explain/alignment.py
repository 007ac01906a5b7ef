"""How closely students follow their teachers in what they answer, and what other colours do to all of them.

Arithmetic on logits of validation images; nothing here is measured on held-out ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepcompress.measure import accuracy, statistics
from deepcompress.measure.statistics import decimals, significant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jaxtyping import Float, Int
    from torch import Tensor

    from deepcompress.explain.models import Pair

    Logits = Mapping[str, Float[Tensor, "images classes"]]
    Row = dict[str, Any]


def answers(pairs: Iterable[Pair], plain: Logits, jittered: Logits, *, temperature: float) -> list[Row]:
    """A row per model and reference; the column `teacher` names the latter, be it a teacher or the baseline.

    Args:
        pairs: Whom to compare.
        plain: Logits by model.
        jittered: Of the same images in other colours.
        temperature: Of the second KL column.

    Returns:
        Columns `kl_nats` (KL(teacher || student) at temperature 1, mean over images), `kl_softened_nats` (at
        `temperature`, without the factor T^2), `agreement_pct` (same top-1 class, right or wrong) and
        `jittered_agreement_pct` (the same, both seeing the jittered image), and `n` images.
    """
    rows = []
    for pair in pairs:
        teacher, student = plain[pair.reference].double(), plain[pair.model].double()
        rows.append(
            {
                "model": pair.model,
                "teacher": pair.reference,
                "n": len(teacher),
                "kl_nats": _nats(accuracy.kl_divergence(teacher, student)),
                "temperature": temperature,
                "kl_softened_nats": _nats(accuracy.kl_divergence(teacher, student, temperature)),
                "agreement_pct": decimals(100 * accuracy.top1_agreement(teacher, student)),
                "jittered_agreement_pct": decimals(
                    100 * accuracy.top1_agreement(jittered[pair.reference], jittered[pair.model])
                ),
            }
        )
    return rows


def colours(plain: Logits, jittered: Logits, labels: Int[Tensor, " images"]) -> list[Row]:
    """A row per model: accuracy on the images and on the jittered copy, each with its 95 % Wilson interval.

    `consistency_pct` is the share of images that get the same answer in both colours, `drop_points` the plain
    accuracy less the jittered one with its paired 95 % bootstrap interval.
    """
    rows = []
    for model, logits in plain.items():
        right, other = (accuracy.top_k_correct(both, labels).numpy() for both in (logits, jittered[model]))
        low, high = statistics.paired_bootstrap(right, other)
        rows.append(
            {
                "model": model,
                "n": len(labels),
                **_share("top1_pct", int(right.sum()), len(labels)),
                **_share("jittered_top1_pct", int(other.sum()), len(labels)),
                "drop_points": decimals(100 * float(right.mean() - other.mean())),
                "drop_points_low": decimals(low),
                "drop_points_high": decimals(high),
                "consistency_pct": decimals(100 * accuracy.top1_agreement(logits, jittered[model])),
            }
        )
    return rows


def _share(name: str, right: int, n: int) -> Row:
    low, high = statistics.wilson_interval(right, n)
    values = {name: right / n, f"{name}_low": low, f"{name}_high": high}
    return {key: decimals(100 * value) for key, value in values.items()}


def _nats(value: Tensor) -> float | None:
    return significant(round(value.item(), 6))  # below a millionth it is rounding of the logits
