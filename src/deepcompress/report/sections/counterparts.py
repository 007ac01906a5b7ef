"""An index of the source report: each of its figures and tables, where ours is, and whether they agree."""

from __future__ import annotations

from deepcompress.report import compare, counterparts
from deepcompress.report.blocks import Paragraph, Section, Table
from deepcompress.report.counterpart_rules import AGREES, CONTRADICTS, MISSING, SAME
from deepcompress.report.tables import Tables

PLURAL = {
    AGREES: "agree",
    CONTRADICTS: "contradict what was measured here",
    SAME: "are not told apart",
    MISSING: "were not measured",
}
HEADS = ("Source report", "Shows", "Verdict")
CAPTION = (
    "Each name leads to the section that has both sides. Accuracies are compared as points to each one's own baseline; "
    "measured values are told apart by their 95 % intervals; bytes, zeros and sparsities are counts. Where the source "
    "report prints no numbers, its words are judged."
)


def build(data: Tables) -> Section | None:
    """A row per figure and table; None where nothing has a counterpart."""
    found = counterparts.found(data)
    verdicts = [one.verdict.partition(":")[0] for one in found]
    if set(verdicts) == {MISSING}:
        return None
    counts = {words: verdicts.count(word) for word, words in PLURAL.items()}
    counts["agree in part or cannot be compared in full"] = len(found) - sum(counts.values())
    parts = ", ".join(f"{n} {words}" for words, n in counts.items() if n)
    lead = f"Of {len(found)} figures, tables and parts of them, {parts}{compare.setting_note(data)}."
    rows = tuple((one.number, one.shows, one.verdict) for one in found)
    links = tuple(one.section for one in found)
    table = Table(HEADS, rows, CAPTION, links=links)
    return Section("Figures and tables of the source report", (Paragraph(lead, strong=True), table), order=66)
