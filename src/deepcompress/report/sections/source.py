"""What of the source report holds: its claims, figures and tables beside measured rows, and its words on techniques."""

from __future__ import annotations

import math
from collections import Counter

from deepcompress.report import claims, estimates, queries, text
from deepcompress.report.estimates import AGREES, CONTRADICTS, IN_PART, INCOMPARABLE, SAME, UNDECIDED, UNTESTED
from deepcompress.report.tables import Tables
from deepcompress.report.text import Block, Paragraph, Section, Table, fold

CAPTION = (
    "A claim agrees where a difference lies on the claimed side of zero, contradicts where it lies on the other, and p "
    "(Holm) is below 0.05. Two models are judged as on the rest of this page, beyond 1 point and for all comparisons "
    "of the family that the first is of; what claims alone compare is a family of its own. Intervals (95 %) are those "
    "of the single comparison, over seeds where "
    "trainings differ; one training each is not tested. Bytes and MACs are counts and have no interval. Where a "
    "claim is that no more is lost than deploy.max_drop_points, p is that of losing just so much, and above 0.05 it is "
    "undecided; so are times whose quartiles overlap."
)
CLAIMS = ("Section", "Claim", "Verdict", "Measured", "p", "p (Holm)")
INDEX = (
    "Each name leads to the part of this page with our counterpart. Points to each one's own baseline are compared on "
    "CIFAR-100 alone, with the errors of both; on other data the order of the models is, where the source report's "
    "10,000 images tell two apart. Where it prints no numbers, its words are judged."
)
TECHNIQUES = (
    "Counterpart of sections 4.7 to 4.10: where the source report has words, here are numbers of one model each "
    "(n = {n} held-out images). Points: to the baseline. Speed: ONNX Runtime at batch 1, against the dense float "
    "model. Cost: of all training that it needs, against the baseline's."
)
HEADS = ("Technique", "Source report", "Measured on", "Points (95 %)", "Smaller", "Fewer MACs", "Faster", "Cost")
VERBS = {  # of one, of several, and what follows
    AGREES: ("agrees", "agree", ""),
    IN_PART: ("agrees", "agree", " in part"),
    CONTRADICTS: ("contradicts", "contradict", " what was measured here"),
    SAME: ("has", "have", " no significant difference"),
    UNDECIDED: ("is", "are", " undecided"),
    INCOMPARABLE: ("is", "are", " of data that cannot be compared"),
    UNTESTED: ("was", "were", " not tested"),
}
FAMILIES = ("pruned", "quantized", "teachers")  # students stand beside theirs under their own question


def source(data: Tables) -> Section | None:
    """How much agrees, each claim and figure with its evidence, and the techniques; None without compressed models."""
    content, stated, drawn = estimates.content(), claims.compared(data, "claims"), claims.compared(data, "figures")
    if {one.verdict for one in (*stated.values(), *drawn.values())} == {UNTESTED}:
        return None
    table = tuple(
        (row["section"], row["statement"], *_found(one), text.probability(one.p), text.probability(one.holm_p))
        for row, one in zip(content["claims"].values(), stated.values(), strict=True)
    )
    shown = content["figures"]
    index = tuple((name, row["shows"], row["statement"], *_found(drawn[name])) for name, row in shown.items())
    links = tuple(row["page"] for row in shown.values())
    figures = Table(("Source report", "Shows", "States", "Verdict", "Measured"), index, INDEX, links=links)
    both = [beside for family in FAMILIES if (beside := side_by_side(data, family))]
    words = aspect_table(data)
    return Section(
        "What of the source report holds",
        (
            Paragraph(f"{_counts(stated, 'claims')}{estimates.setting_note(data)}.", strong=True),
            Table(CLAIMS, table, CAPTION, folded="Each claim with its evidence"),
            *fold(f"{_counts(drawn, 'figures, tables and parts of them')}.", "source_figures", [figures]),
            *fold("Accuracies side by side", "side_by_side", both),
            *fold("Its words on pruning in numbers (Figure 9)", "aspects", [words] if words else []),
            *fold("Each technique in numbers", "techniques", _techniques(data)),
        ),
    )


def _found(one: claims.Comparison) -> tuple[str, str]:
    return one.judgement, one.evidence or text.MISSING


def _counts(compared: dict[str, claims.Comparison], what: str) -> str:
    verdicts = Counter(comparison.verdict for comparison in compared.values())
    counts = [
        f"{n} {one if n == 1 else several}{what_follows}"
        for word, (one, several, what_follows) in VERBS.items()
        if (n := verdicts[word])
    ]
    return f"Of {len(compared)} {what} of the source report, {', '.join(counts)}"


def side_by_side(data: Tables, family: str) -> Table | None:
    """Its accuracies and ours, and both as points to each one's own baseline; None where no model is in both."""
    theirs, first, cells = estimates.source_top1(data, family), estimates.start(data, family), []
    words = estimates.outcomes(data, family) if estimates.is_cifar100(data) else {}
    for _, row in data.of(family).iterrows():
        here = data.differences.get((row["model"], first))
        if (top1 := theirs.get(row["model"])) is not None and here is not None:
            points_there = text.spanned(estimates.source_points(theirs, row["model"], first), 1, text.signed)
            verdict = words.get(row["model"], INCOMPARABLE)
            cells.append((row["name"], points_there, text.difference(here), verdict, text.number(top1),
                          text.accuracy(row)))  # fmt: skip
    heads = ("Model", "Source report: points (95 %)", "Here: points (95 %)", "Verdict", "Source report: top-1 %",
             "Here: top-1 % (95 %)")  # fmt: skip
    caption = (
        "Points: difference to each one's own baseline. The source report prints no intervals: those here are of two "
        "samples of 10,000 images, wider than of the same images, which it does not tell, and without the chance of "
        f"its one training each. Verdicts are corrected (Holm) for all of this table."
        f"{text.ns(cell[2] for cell in cells)}"
    )
    return Table(heads, tuple(cells), caption) if cells else None


def aspect_table(data: Tables) -> Table | None:
    """Counterpart of figure 9; None without both methods at the source report's sparsity."""
    if not (words := claims.aspect_words(data)):
        return None
    dense, loose, before, tight = claims.storage_states(data)
    values = {
        "removed": text.short(before["parameters"] - tight["parameters"]),
        "zeroed": text.short(dense["nonzero_weights"] - loose["nonzero_weights"]),
        "structured_macs": text.short(tight["macs"]), "unstructured_macs": text.short(loose["macs"]),
        "structured_macs_pct": text.percent(tight["macs"], before["macs"]),
        "unstructured_macs_pct": text.percent(loose["macs"], dense["macs"]),
        "structured_mib": text.mib(tight["dense_bytes"]),
        "unstructured_mib": text.mib(loose["dense_bytes"]),
        "structured_kept": _kept_accuracy(data, "structured"),
        "unstructured_kept": _kept_accuracy(data, "unstructured"),
        "structured_dense_pct": text.percent(tight["dense_bytes"], before["dense_bytes"]),
        "bitmask_pct": text.percent(loose["bitmask_bytes"], dense["dense_bytes"]),
        "csr_pct": text.percent(loose["csr_bytes"], dense["dense_bytes"]),
    }  # fmt: skip
    columns, rows = ("aspect", "structured", "structured_here", "unstructured", "unstructured_here"), []
    for row in estimates.content()["aspects"]:
        judged = claims.Comparison(words[row["aspect"]], note=row.get("why", ""))
        rows.append((*(row[name].format(**values) for name in columns), judged.judgement))
    heads = ("Aspect", "Source report: structured", "Here, at 25 %", "Source report: unstructured", "Here, at 25 %",
             "Verdict")  # fmt: skip
    caption = (
        "Counterpart of Figure 9 of the source report: its words, and what was measured. Verdicts on hardware and "
        "accuracy are those of the claims of section 4.3; counts of bytes and parameters have no interval."
    )
    return Table(heads, tuple(rows), caption)


def _kept_accuracy(data: Tables, method: str) -> str:
    """The accuracy at the source report's sparsity as a share of the baseline's."""
    states = {"fine-tuned": "pruned", "before fine-tuning": "masked"}
    rows, base = {name: queries.at(data, family, method) for name, family in states.items()}, data.baseline["top1_pct"]
    if base == 0:
        return text.MISSING
    parts = [f"{text.number(100 * row['top1_pct'] / base)} % {name}" for name, row in rows.items() if row is not None]
    return f"keeps {', '.join(parts)}"


def _techniques(data: Tables) -> list[Block]:
    """A row of numbers for each technique of which there is the model that stands for it.

    Speed is that of the int8 file where there is one.
    """
    rows, base, times = [], data.baseline, queries.latency(data)
    one_image = times[times["batch_size"] == 1]
    for name, technique in estimates.content()["techniques"].items():
        for _, row in estimates.chosen(data, technique["model"]).head(1).iterrows():
            own = one_image[one_image["model"] == row["model"]].set_index("engine")["speedup"]
            faster = next((own[engine] for engine in (queries.INT8, queries.FLOAT) if engine in own.index), math.nan)
            cost = row[queries.TOTAL] / base[queries.TOTAL] if base[queries.TOTAL] > 0 else math.nan
            ratios = (row["times_smaller"], base["macs"] / row["macs"], faster, cost)
            points = text.difference(row["difference"])
            rows.append((name, technique["statement"], row["model"], points, *map(text.times, ratios)))
    return [Table(HEADS, tuple(rows), TECHNIQUES.format(n=f"{int(base['n']):,}"))] if rows else []


SECTIONS = {"claims": (70, source)}
