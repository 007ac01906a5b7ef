"""Spoilt params.yaml and presets: one line that names the file, no code, no endless expansion."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from deepcompress import params, plan, preset
from tests.faults.damage import fuzz, read_or_refused, spoilt
from tests.house import ROOT

pytestmark = pytest.mark.usefixtures("inside")
GOOD = (ROOT / "params.yaml").read_text(encoding="utf-8")
LINES = GOOD.splitlines()
SCALARS = [number for number, line in enumerate(LINES) if ": " in line.partition("#")[0].rstrip()]
SPRUNG = "sprung"
ODD_VALUES = (
    ".nan", ".inf", "-.inf", "-1", "-0.0", "1.0e+400", "1.0e-400", "9" * 30, "9" * 5000, "0x" + "f" * 5000,
    "0b" + "1" * 99, "1:99", "190:20:30", "!!int x", "!!int", "!!float x", "!!bool x", "!!null x", "!!timestamp x",
    "!!binary é", "!!set {a, b}", "!!omap [a: 1]", "!!pairs [a]", "!!str [a]", "!!seq a", "!!map a", "!unknown 1",
    f"!!python/object/apply:pathlib.Path.touch [{SPRUNG}]", f"!!python/object/new:os.system ['touch {SPRUNG}']",
    "!!python/name:os.system", "!!python/tuple [1]", "2020-13-45", "2020-01-01", "2020-01-01 99:99:99", "*nobody",
    "&a [*a]", "&a {b: *a}", "{[1]: 2}", "{? {a: 1} : 2}", "{null: 1}", "{1: 2, 1.5: 3, true: 4}", "{2020-01-01: 1}",
    "[" * 1000 + "]" * 1000, "{a: " * 500 + "1" + "}" * 500, "'" + "x" * 100_000 + "'", '"\\ud800"', '"\\0"',
    "'\U0001f600'",
    "[1, 'a', null, {b: []}]", "{}", "[]", "null", "true", "~", "''", "<<", "{<<: 1}", "{<<: [1, 2]}", "!!merge x",
    "|", ">\n  x", "? a", "%", "@", "`", "\t", "- 1", "a: b: c", "'", '"',
)  # fmt: skip
LAUGHS = "\n".join(
    ["laughs0: &laughs0 [ha, ha, ha, ha, ha, ha, ha, ha, ha, ha]"]
    + [f"laughs{n}: &laughs{n} [{', '.join([f'*laughs{n - 1}'] * 10)}]" for n in range(1, 12)]
)


def check(content: str | bytes) -> str | None:
    """What the stage plan says of a params.yaml of this content."""
    path = Path("params.yaml")
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))

    def read() -> None:
        document = params.read()
        with pytest.MonkeyPatch.context() as patch:  # a section each, but parsed once
            patch.setattr(params, "read", lambda path=None: document)
            plan.check()
        plan.table(document)

    said = read_or_refused(read, naming="params.yaml")
    assert not Path(SPRUNG).exists()
    return said


def with_value(number: int, value: str) -> str:
    """params.yaml with another value behind the key of one line."""
    key = LINES[number].partition(":")[0]
    return "\n".join([*LINES[:number], f"{key}: {value}", *LINES[number + 1 :]])


@fuzz(40)
@given(content=spoilt(GOOD.encode()), noise=st.binary(max_size=200))
@example(content=GOOD.encode(), noise=b"")
def test_spoilt_bytes_and_noise(content: bytes, noise: bytes) -> None:
    said = check(content)
    assert said is None or content != GOOD.encode()
    assert check(noise)


@pytest.mark.parametrize("place", range(len(ODD_VALUES)))
def test_an_odd_value_at_the_seed_and_at_a_key_of_its_own(place: int) -> None:
    for number in (SCALARS[0], SCALARS[5 * place % len(SCALARS)]):
        check(with_value(number, ODD_VALUES[place]))


@fuzz(30)
@given(number=st.integers(0, len(LINES) - 1), depth=st.integers(-8, 8), data=st.data())
def test_moved_lost_and_doubled_lines(number: int, depth: int, data: st.DataObject) -> None:
    lines = [*LINES]
    kind = data.draw(st.sampled_from(("indent", "lose", "double", "swap")))
    if kind == "indent":
        lines[number] = " " * max(0, depth) + lines[number][max(0, -depth) :]
    elif kind == "lose":
        del lines[number]
    elif kind == "double":
        lines.insert(data.draw(st.integers(0, len(lines))), lines[number])
    else:
        other = data.draw(st.integers(0, len(lines) - 1))
        lines[number], lines[other] = lines[other], lines[number]
    check("\n".join(lines))


@fuzz(20)
@given(key=st.text(min_size=1, max_size=20))
def test_a_key_in_any_script(key: str) -> None:
    document: dict[str, Any] = yaml.safe_load(GOOD)
    document["train"][key] = 1
    assert check(yaml.safe_dump(document, allow_unicode=True))


@pytest.mark.parametrize("key", ["train", "quant", "distill", "prune", "combine", "more"])
def test_a_billion_laughs_are_refused(key: str) -> None:
    lines = [line for line in LINES if not line.startswith(f"{key}:")] if key == "more" else LINES
    start = next((n for n, line in enumerate(lines) if line.startswith(f"{key}:")), len(lines))
    end = next((n for n in range(start + 1, len(lines)) if lines[n][:1].isalpha()), len(lines))
    said = check("\n".join([LAUGHS, *lines[:start], f"{key}: *laughs11", *lines[end:]]))
    assert said


@fuzz(30)
@given(content=spoilt(GOOD.encode()))
def test_a_preset_is_laid_over_a_spoilt_file_or_says_why_not(content: bytes) -> None:
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return
    read_or_refused(lambda: preset.apply(text, {"seed": 1, "train": {"device": "cpu"}}))
