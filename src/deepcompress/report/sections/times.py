"""How long each stage took on the machine that ran the pipeline."""

from __future__ import annotations

from deepcompress.report import text
from deepcompress.report.blocks import Paragraph, Section, Table
from deepcompress.report.tables import Tables

NAME = "benchmark/stages"
SECONDS_PER_MINUTE = 60


def build(data: Tables) -> Section | None:
    """The total and a row per stage, the longest first; None where no stage ran here."""
    rows = data.extra.get(NAME)
    if rows is None or rows.empty:
        return None
    longest = rows.sort_values(["seconds", "stage"], ascending=[False, True])
    minutes = text.number(rows["seconds"].sum() / SECONDS_PER_MINUTE)
    stages = text.count(len(rows), "stage")
    lead = f"{stages} took {minutes} minutes in all, DVC's own work apart; of each the last time that it ran."
    cells = tuple((str(row["stage"]), text.number(row["seconds"])) for _, row in longest.iterrows())
    return Section(
        "Time of each stage", (Paragraph(lead), Table(("Stage", "Seconds"), cells, folded="All stages")), order=85
    )
