"""docs/paper.md: each value of the preset `paper` stands beside the source report's words, or is said to be assumed."""

from __future__ import annotations

import re

import yaml

from deepcompress import params, preset
from tests.house import ROOT

TABLE = re.compile(r"^\| `([^`]+)` \| `([^`]*)` \| (.+) \| (.+) \|$", flags=re.MULTILINE)
ROWS = TABLE.findall((ROOT / "docs/paper.md").read_text(encoding="utf-8").partition("### Every value")[2])
VALUES = dict(params.leaves(preset.load("paper", ROOT / "presets")))


def test_the_table_holds_every_value_of_the_preset_and_no_other() -> None:
    listed = {}
    for key, value, _, _ in ROWS:
        pattern = re.compile(re.escape(key).replace(r"\*", r"\w+"))
        listed |= {name: yaml.safe_load(value) for name in VALUES if pattern.fullmatch(name)} or {key: value}
    assert listed == VALUES


def test_what_has_no_section_of_the_source_report_is_assumed_or_ours_and_the_preset_says_so() -> None:
    for key, _, words, section in ROWS:
        assert (section == "–") == words.startswith(("not stated; assumed", "ours")), key
    comments = re.findall(r"#.*ssumed", (ROOT / "presets/paper.yaml").read_text(encoding="utf-8"))
    assert len(comments) >= 12
