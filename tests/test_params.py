"""params.yaml: strict, frozen, and errors that name the key and what is allowed."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
import pytest
import yaml
from dvc.utils.serialize import modify_yaml
from pydantic import Field

from deepcompress import params
from deepcompress.errors import UserError


class Inner(params.Section):
    rate: float = Field(gt=0, lt=1)


class Outer(params.Section):
    epochs: int = Field(ge=1)
    kind: Literal["a", "b"]
    inner: Inner
    widths: tuple[int, ...] = (1,)


NUMBER = "outer.inner.rate must be a number,"
GOOD = {"epochs": 3, "kind": "a", "inner": {"rate": 0.5}}


def write(folder: Path, document: object) -> Path:
    path = folder / "params.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def message(folder: Path, document: object) -> str:
    with pytest.raises(UserError) as caught:
        params.section(Outer, "outer", write(folder, document))
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(str(folder) + "/", "")


def test_a_section_becomes_a_frozen_value(tmp_path: Path) -> None:
    outer = params.section(Outer, "outer", write(tmp_path, {"outer": {**GOOD, "widths": [1, 2]}}))
    assert (outer.epochs, outer.inner.rate, outer.widths) == (3, 0.5, (1, 2))
    with pytest.raises(pydantic.ValidationError):
        outer.epochs = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"epochs": 0}, "outer.epochs must be greater than or equal to 1, got 0"),
        ({"epochs": "3"}, "outer.epochs must be a whole number, got '3' (that is text; write 3 without quotes)"),
        ({"epochs": True}, "outer.epochs must be a whole number, got true"),
        ({"kind": "c"}, "outer.kind must be 'a' or 'b', got 'c'"),
        ({"kind": "1"}, "outer.kind must be 'a' or 'b', got '1'"),
        ({"inner": {"rate": 2.0}}, "outer.inner.rate must be less than 1, got 2.0"),
        ({"inner": {"rate": "1e-3"}}, f"{NUMBER} got '1e-3' (YAML reads 1e-3 as text; write 1.0e-3)"),
        ({"inner": {"rate": f"1e-{'9' * 5000}"}}, f"{NUMBER} got '1e-{'9' * 196}..."),
        ({"inner": {}}, "outer.inner.rate is missing"),
        ({"epoch": 3}, "outer.epoch is unknown; allowed: epochs, kind, inner, widths; did you mean epochs?"),
        ({"inner": {"rate": 0.5, "rat": 1}}, "outer.inner.rat is unknown; allowed: rate; did you mean rate?"),
    ],
)
def test_an_error_names_key_value_and_what_is_allowed(tmp_path: Path, change: dict[str, object], expected: str) -> None:
    assert message(tmp_path, {"outer": {**GOOD, **change}}) == f"params.yaml: {expected}"


@pytest.mark.parametrize(
    ("allowed", "got", "expected"),
    [
        (Annotated[int, Field(ge=1)] | Literal["auto"], "x", "be a whole number or be 'auto', got 'x'"),
        (list[int], None, "be a list, got null"),
        (dict[str, int], [1], "be a block of keys, got [1]"),
        (Annotated[str, Field(pattern="^https?://")], "ftp://xyz", "match pattern '^https?://', got 'ftp://xyz'"),
        (Annotated[str, Field(min_length=9)], "http://", "have at least 9 characters, got 'http://'"),
    ],
)
def test_a_value_of_the_wrong_kind_or_form_is_told_in_words_of_yaml(
    tmp_path: Path, allowed: Any, got: object, expected: str
) -> None:
    schema = pydantic.create_model("Several", __base__=params.Section, devices=(allowed, ...))
    with pytest.raises(UserError, match=re.escape(f"several.devices must {expected}") + "$"):
        params.section(schema, "several", write(tmp_path, {"several": {"devices": got}}))


def test_of_many_allowed_names_the_first_and_the_likeliest_are_told() -> None:
    names = [f"pruned/{number}" for number in range(30)]
    assert params.listed(names, "prune/29") == f"{', '.join(names[:5])} and 25 more; did you mean pruned/29?"
    assert params.listed(names[:2], "x") == "pruned/0, pruned/1"


@pytest.mark.parametrize("number", [1e-5, -5e-5, 2.5e-5, 1e-300, 1e16, 3e100, 1e-4, 0.001])
def test_a_number_is_read_as_dvc_spells_it(tmp_path: Path, number: float) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("rate: 3.0e-3\n")
    with modify_yaml(path) as document:  # as `dvc exp run -S` does
        document["rate"] = number
    assert params.read(path) == {"rate": number}
    assert type(params.value("rate", path)) is float


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2\n", "", "\x00"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert message(tmp_path, text).startswith("params.yaml: ")


@pytest.mark.parametrize(
    ("text", "key", "lines"),
    [
        ("seed: 1\nmore:\n  a: 1\nseed: 2\n", "seed", "1 and 4"),
        ("outer:\n  inner: &a {x: 1}\n  same: *a\n  inner: {<<: *a, x: 2}\n", "outer.inner", "2 and 4"),
        ("outer:\n  all: [{a: 1,\n  'a': 2}]\n", "outer.all.a", "2 and 3"),
    ],
)
def test_a_key_that_stands_twice_is_refused_with_both_lines(tmp_path: Path, text: str, key: str, lines: str) -> None:
    assert message(tmp_path, text) == f"params.yaml: {key} stands twice, in lines {lines}: remove one of them"


def test_a_missing_file_and_a_missing_key_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        params.read(tmp_path / "params.yaml")
    with pytest.raises(UserError, match=r"outer\.inner is missing"):
        params.value("outer.inner", write(tmp_path, {"outer": {}}))


@pytest.mark.parametrize("number", [-1, 1.5, "64", True, None, 2**63])
def test_the_seed_and_the_budget_are_whole_numbers(tmp_path: Path, number: object) -> None:
    path = write(tmp_path, {"seed": number, "data": {"device_budget_mib": number}})
    with pytest.raises(UserError, match="seed must be a whole number in 0"):
        params.seed(path)
    if number != 2**63:
        with pytest.raises(UserError, match=r"data\.device_budget_mib must be a whole number of at least 0, got"):
            params.device_budget_mib(path)


@pytest.mark.parametrize(
    ("document", "mib"),
    [({"data": {"device_budget_mib": 3}}, 3), ({"data": {"source": "shapes"}}, 2048), ({"seed": 0}, 2048)],
)
def test_the_budget_is_what_the_file_says_or_its_default(tmp_path: Path, document: dict[str, Any], mib: int) -> None:
    assert params.device_budget_mib(write(tmp_path, document)) == mib


def test_a_file_is_parsed_once_and_nobody_shares_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(f"seed: 0\nlist: [1, 2]  # {tmp_path}\n")
    parsed = []
    load = yaml.load
    monkeypatch.setattr(params.yaml, "load", lambda text, loader: parsed.append(text) or load(text, loader))
    params.read(path)["list"].append(3)
    assert params.read(path) == {"seed": 0, "list": [1, 2]}
    assert len(parsed) == 1
    path.write_text("seed: 1\n")
    assert params.read(path) == {"seed": 1}


def test_what_all_trainings_share_stands_once_and_a_block_s_own_values_win() -> None:
    document = {
        "recipe": {"batch_size": 64, "augment": {"flip": True, "jitter": None}},
        "model": {"image_size": 48, "width": 0.5},
        "finetune": {"epochs": 3},
        "prune": {"finetune": {"batch_size": 8, "augment": {"flip": False}}},
        "quant": "not a block",
        "teachers": {"big": {"recipe": {"augment": {"jitter": {"hue": 0.1}}}}},
    }
    filled = params.filled(document)
    assert filled["finetune"] == {"epochs": 3, "batch_size": 64, "augment": {"flip": True, "jitter": None}}
    assert filled["prune"]["finetune"] == {"batch_size": 8, "augment": {"flip": False, "jitter": None}}
    assert filled["teachers"]["big"]["recipe"]["augment"] == {"flip": True, "jitter": {"hue": 0.1}}
    assert filled["teachers"]["big"]["image_size"] == 48
    assert "width" not in filled["teachers"]["big"]
    assert filled["quant"] == "not a block"


def test_a_plugin_is_found_by_its_file_name_and_others_are_refused_with_the_list() -> None:
    assert "shapes" in params.plugins("data.sources")
    assert params.plugin("data.sources", "shapes").__name__ == "deepcompress.data.sources.shapes"
    with pytest.raises(UserError, match=r"params.yaml: data.source must be one of .*cifar100.*shapes; got 'nope'"):
        params.plugin("data.sources", "nope", "data.source")
    for name in ("../params", "__init__", "_helper", "shapes.Options"):
        with pytest.raises(UserError):
            params.plugin("data.sources", name)
