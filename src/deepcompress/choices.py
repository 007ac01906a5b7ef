"""What params.yaml chooses for a stage, where dvc.yaml cannot name it: code of plug-ins, and settings of links.

`plan` writes it (results/choices.json), and stages depend on their own keys of it. So a plug-in that changed or is new
runs those stages again that use it, and a key of params.yaml those links of chains that go by it. Hashes, because DVC
reads and writes all that dvc.lock holds once per stage that runs. Free of torch.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from deepcompress import params
from deepcompress.code_hash import DIGITS, Hashes
from deepcompress.quantization.settings import FORMATS, HALF_BITS, Quant, file_of, split

SHIPPED = "shipped"  # among the variants of `quantize`: the model that we ship


def of(document: dict[str, Any], code: Hashes) -> dict[str, Hashes]:
    """What decides about stages that depend on this file.

    Args:
        document: The whole of params.yaml, already checked.
        code: What `code_hash.hashes` gives.

    Returns:
        `code`: the hash of each plug-in that a stage uses, such as {"prune": {"structured": {"pruning.criteria.taylor":
        "0f1e..."}}}. `settings`: a hash per link of a chain, such as {"combine": {"quantize": {"sparse_int4":
        "2d3c..."}}}.
    """
    links = {step: document["combine"].get(step, {}) for step in ("prune", "distill", "quantize")}
    settings = {step: {name: _settings(step, document, link) for name, link in links[step].items()} for step in links}
    combined = {step: {name: _plugins(step, document, link) for name, link in links[step].items()} for step in links}
    used = {**_sections(document), "combine": combined}
    return {"code": _hashed(used, code), "settings": {"combine": settings}}


def _hashed(used: Any, code: Hashes) -> Hashes:
    if isinstance(used, dict):
        return {key: _hashed(inner, code) for key, inner in used.items()}
    return {name: params.at(code, name) for name in used}


def _sections(document: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """Plug-ins by stage, and by what its matrix or its command names them by."""
    prune, distill = document["prune"], document["distill"]
    quant = params.validate(Quant, document["quant"], "quant")
    methods = ("unstructured", "structured")
    return {
        "sensitivity": {method: [f"pruning.criteria.{prune[method]['criterion']}"] for method in methods},
        "prune": {method: _of_pruning(prune[method]) for method in methods},
        "quantize": {SHIPPED: _of_format(quant, quant.shipped)}
        | {name: _of_format(quant, name) for name in quant.sweep},
        "distill": {name: _of_lesson(distill, name) for name in (*distill["methods"], *distill.get("mixtures", {}))},
        "benchmark": {"engines": [f"deploy.engines.{engine}" for engine in document["benchmark"]["engines"]]},
    }


def _plugins(step: str, document: dict[str, Any], link: dict[str, Any]) -> list[str]:
    if step == "distill":
        return _of_lesson(document["distill"], link["method"])
    if step == "prune":
        block = params.linked(document["prune"], link)
        return _of_pruning(block[block["method"]])
    quant = params.validate(Quant, params.linked(document["quant"], link), "quant")
    return _of_format(quant, quant.shipped)


def _of_pruning(method: dict[str, Any]) -> list[str]:
    return [f"pruning.allocations.{method['allocation']}", f"pruning.criteria.{method['criterion']}"]


def _of_lesson(distill: dict[str, Any], name: str) -> list[str]:
    mixture = distill.get("mixtures", {}).get(name)
    return [f"distillation.losses.{loss}" for loss in (mixture["losses"] if mixture else [name])]


def _of_format(quant: Quant, variant: str) -> list[str]:
    file = file_of(split(variant)[1])
    in_floats = file == "intn" and HALF_BITS in (quant.first_bits, quant.last_bits)
    return [f"{FORMATS}.{name}" for name in (file, *(["floats"] if in_floats else []))]


def _settings(step: str, document: dict[str, Any], link: dict[str, Any]) -> str:
    """A hash of a step's section with what a link says in its place, without the keys that it does not read."""
    text = json.dumps(_read_by_link(step, document, link), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _read_by_link(step: str, document: dict[str, Any], link: dict[str, Any]) -> dict[str, Any]:
    if step == "distill":
        distill, method = document["distill"], link["method"]
        mixture = distill.get("mixtures", {}).get(method)
        return {
            "student": distill["student"],
            "finetune": document["prune"]["finetune"],
            "losses": {name: distill["methods"].get(name, {}) for name in (mixture["losses"] if mixture else [method])},
            "mixture": mixture,
        }
    block = params.linked(document["prune" if step == "prune" else "quant"], link)
    if step == "prune":
        unread = {"sweep", "structured" if block["method"] == "unstructured" else "unstructured"}
    else:  # `from` and `baselines` are of other models
        unread = {"sweep", "from", "baselines", *(["qat"] if block["mode"] == "ptq" else [])}
    return {key: value for key, value in block.items() if key not in unread}
