"""What a counterpart is: a figure or table of the source report, what stands there, what was measured here, a verdict.

Where the source report prints numbers, they stand in the sentence; where it draws curves or pictures alone, what its
text reads from them does. Verdicts follow the rules of claims, see claim_rules.py, in words of agreement.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deepcompress.report import claim_rules, text
from deepcompress.report.blocks import Paragraph

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deepcompress.report.claim_rules import Claim

AGREES, CONTRADICTS, SAME, MISSING = "agrees", "contradicts", "not told apart", "not measured here"
WORDS = {
    claim_rules.HOLDS: AGREES,
    claim_rules.FAILS: CONTRADICTS,
    claim_rules.SAME: SAME,
    claim_rules.MISSING: MISSING,
}


@dataclass(frozen=True)
class Counterpart:
    """One figure or table of the source report beside ours.

    Attributes:
        number: `Figure 5`, `Table 1`; a part of it in brackets.
        shows: What it shows.
        section: File name of the section of the page that holds ours.
        paper: Its numbers, or what its text reads from it, in our words.
        here: The same as measured, with intervals and n; empty where nothing was measured.
        verdict: AGREES, CONTRADICTS, SAME, MISSING, a count of these, or why the two cannot be compared.
    """

    number: str
    shows: str
    section: str
    paper: str
    here: str = ""
    verdict: str = MISSING

    @property
    def sentence(self) -> str:
        """Both sides and the verdict."""
        return f"{self.number} of the source report: {self.paper}. Here: {self.here}. Verdict: {self.verdict}."


def measured(one: Counterpart, here: str, verdict: str) -> Counterpart:
    """The counterpart with what was measured; as it is where nothing was."""
    return one if verdict == MISSING else replace(one, here=here, verdict=verdict)


def of_claim(one: Counterpart, claim: Claim, opening: str = "", ending: str = "") -> Counterpart:
    """The counterpart judged as a claim is, its evidence between two pieces of text."""
    return measured(one, f"{opening}{claim.evidence}{ending}", WORDS[claim.verdict])


def paragraph(one: Counterpart, *, strong: bool = False) -> tuple[Paragraph, ...]:
    """Its sentence as a block; nothing where nothing was measured."""
    return (Paragraph(one.sentence, strong),) if one.here else ()


def counted(seen: int, of: int, what: str) -> str:
    """The verdict on several comparisons: one word where all or none agree, else the count."""
    return AGREES if seen == of else f"agrees in {seen} of {of} {what}" if seen else CONTRADICTS


def ordered(theirs: Mapping[str, float], ours: Mapping[str, float]) -> tuple[int, int, int]:
    """Of the pairs of names that both hold, those in the order of the first, in the reverse, and equal in the second.

    Pairs that are equal in the first are left out.
    """
    found = [0, 0, 0]
    for one, other in itertools.combinations([name for name in theirs if name in ours], 2):
        paper, here = theirs[one] - theirs[other], ours[one] - ours[other]
        if paper:
            found[0 if paper * here > 0 else 1 if here else 2] += 1
    return found[0], found[1], found[2]


def spread(values: Mapping[str, float], digits: int = 2) -> str:
    """The range of some values: `0.22 to 0.31`."""
    return " to ".join(text.number(end, digits) for end in (min(values.values()), max(values.values())))
