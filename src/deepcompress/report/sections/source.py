"""What of the source report holds: its claims, figures and tables beside measured rows, and its words on techniques."""

from __future__ import annotations

from deepcompress.report import claims, queries, text
from deepcompress.report.blocks import Block, Paragraph, Section, Table, fold
from deepcompress.report.estimates import (
    AGREES,
    CONTRADICTS,
    IN_PART,
    INCOMPARABLE,
    SAME,
    UNDECIDED,
    UNTESTED,
    chosen,
    content,
)
from deepcompress.report.source_report import setting_note, side_by_side
from deepcompress.report.tables import Tables

CAPTION = (
    "A claim agrees where a difference lies on the claimed side of zero, contradicts where it lies on the other, and p "
    "(Holm) is below 0.05. It is corrected for all comparisons of the family that the first model is of; what claims "
    "alone compare is a family of its own. Intervals (95 %) are those of the single comparison, over seeds where "
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
VERBS = {
    AGREES: "agree", IN_PART: "agree in part", CONTRADICTS: "contradict what was measured here",
    SAME: "have no significant difference", UNDECIDED: "are undecided",
    INCOMPARABLE: "are of data that cannot be compared", UNTESTED: "were not tested",
}  # fmt: skip
FAMILIES = ("pruned", "quantized", "teachers")  # students stand beside theirs under their own question


def source(data: Tables) -> Section | None:
    """How much agrees, each claim and figure with its evidence, and the techniques; None without compressed models."""
    stated, drawn = claims.claims(data), claims.figures(data)
    if {one.verdict for one in (*stated, *drawn)} == {UNTESTED}:
        return None
    table = tuple(
        (one.place, one.statement, one.judgement, one.evidence or text.MISSING, text.probability(one.p),
         text.probability(one.holm_p)) for one in stated
    )  # fmt: skip
    index = tuple((one.place, one.shows, one.statement, one.judgement, one.evidence or text.MISSING) for one in drawn)
    links = tuple(one.page for one in drawn)
    figures = Table(("Source report", "Shows", "States", "Verdict", "Measured"), index, INDEX, links=links)
    both = [beside for family in FAMILIES if (beside := side_by_side(data, family))]
    words = claims.aspect_table(data)
    return Section(
        "What of the source report holds",
        (
            Paragraph(f"{_counts(stated, 'claims')}{setting_note(data)}.", strong=True),
            Table(CLAIMS, table, CAPTION, folded="Each claim with its evidence"),
            *fold(f"{_counts(drawn, 'figures, tables and parts of them')}.", "source_figures", [figures]),
            *fold("Accuracies side by side", "side_by_side", both),
            *fold("Its words on pruning in numbers (Figure 9)", "aspects", [words] if words else []),
            *fold("Each technique in numbers", "techniques", _techniques(data)),
        ),
    )


def _counts(compared: list[claims.Comparison], what: str) -> str:
    verdicts = [one.verdict for one in compared]
    counts = [f"{verdicts.count(word)} {verb}" for word, verb in VERBS.items() if word in verdicts]
    return f"Of {len(compared)} {what} of the source report, {', '.join(counts)}"


def _techniques(data: Tables) -> list[Block]:
    rows = tuple(cells for name in content()["techniques"] if (cells := _technique(data, name)))
    return [Table(HEADS, rows, TECHNIQUES.format(n=f"{int(data.baseline['n']):,}"))] if rows else []


def _technique(data: Tables, name: str) -> tuple[str, ...]:
    """The numbers of the model that stands for a technique; nothing without it."""
    technique, base = content()["techniques"][name], data.baseline
    rows = chosen(data, technique["model"])
    if rows.empty:
        return ()
    row = rows.iloc[0]
    return (
        name,
        technique["statement"],
        row["model"],
        text.difference(row),
        text.times(row["times_smaller"]),
        text.times(base["macs"] / row["macs"]),
        _faster(data, row["model"]),
        text.times(float(row[queries.TOTAL]) / float(base[queries.TOTAL])) if base[queries.TOTAL] > 0 else text.MISSING,
    )


def _faster(data: Tables, model: str) -> str:
    """The median speed-up at batch 1, of the int8 file where there is one."""
    rows = queries.latency(data)
    some = rows[(rows["model"] == model) & (rows["batch_size"] == 1)].set_index("engine")
    engine = next((engine for engine in (queries.INT8, queries.FLOAT) if engine in some.index), None)
    return text.MISSING if engine is None else text.times(some["speedup"][engine])


SECTIONS = {"claims": (70, source)}
