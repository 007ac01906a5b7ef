"""What stages depend on and dvc.yaml cannot name: files of the user's, the code of plug-ins, the settings of links.

`plan` finds all of it in params.yaml and writes hashes by key, results/inputs.json and results/choices.json, and stages
depend on their own keys of these.

Files that params.yaml names: DVC takes no dependency from a key that may be null. So `plan` links each file into the
folder inputs/, on which it depends. What counts of weights is the file's content; of a network of the user the code of
the function's file and of all that it imports from the same folder, without comments and docstrings. Code in other
places does not count. Of the user's images names, sizes and times count: they lie anywhere, and hashing them at every
run would take minutes. A data source that reads files of the user's says which by a function `inputs`, of its options.
DVC follows no link to a folder: a file in inputs/ tells of them, which `make repro` writes anew before it asks DVC what
changed.

Choices: a plug-in that changed or is new runs those stages again that use it, and a key of params.yaml those links of
chains that go by it. Hashes, because DVC reads and writes all that dvc.lock holds once per stage that runs.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepcompress import code_hash, files, params
from deepcompress.code_hash import DIGITS, Hashes
from deepcompress.data.archives import is_litter
from deepcompress.errors import UserError, said_after
from deepcompress.models.spec import IMAGENET, OWN, TIMM
from deepcompress.plan_table import Plan
from deepcompress.quantization.settings import FORMATS, HALF_BITS, Quant, file_of, split

if TYPE_CHECKING:
    from dvc.repo import Repo

    from deepcompress.data.store import DataConfig

FOLDER = "inputs"  # of links; git and DVC see it empty in a fresh clone
IMAGES = "images"  # the file in FOLDER that tells of the user's images
HASHES = Path("results/inputs.json")
SHIPPED = "shipped"  # among the variants of `quantize`: the model that we ship
NOTHING = "none"  # the fingerprint of a source that reads no files of the user's


def networks(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The block of every network by its key, from the whole of params.yaml, already checked."""
    teachers = {f"teachers.{name}": block for name, block in document["teachers"].items()}
    return {"model": document["model"], **teachers, "distill.student": document["distill"]["student"]}


def network_of(models: Plan, model: str) -> str:
    """The key, in `networks`, of what a model of the plan is made from: by itself, or by the first of its chain."""
    first = models.chain(model)[0]
    own = {"students": "distill.student", "teachers": first.id.replace("/", ".")}
    return own.get(first.family, "model")


def named(document: Mapping[str, Any]) -> dict[str, list[Path]]:
    """The files by the key that names them, such as `model.weights`; a UserError if one is not there."""
    found: dict[str, list[Path]] = {}
    for key, block in networks(document).items():
        arch, weights = block["arch"], block.get("weights")
        if weights not in (None, IMAGENET):
            with said_after(f"params.yaml: {key}.weights: "):
                path = files.from_repository(str(weights))
                if reason := files.absence(path):
                    shown = str(weights)[: params.LONGEST_SHOWN]
                    raise UserError(f"{shown}: {reason}; it must be null, imagenet or a file's path")
            found[f"{key}.weights"] = [path]
        if OWN.fullmatch(arch) and not TIMM.fullmatch(arch):
            with said_after(f"params.yaml: {key}.arch: "):
                from deepcompress.models.build import sources  # which needs torch

                found[f"{key}.arch"] = sources(arch)
    return found


def images(document: Mapping[str, Any]) -> str:
    """Tells whether the user's images changed, see `fingerprint`. Where they are gone, what HASHES tells of them."""
    recorded = files.read_json(HASHES) if HASHES.is_file() else {}
    return fingerprint(_data(document), str(params.at(recorded, "data")))


def _data(document: Mapping[str, Any]) -> DataConfig:
    from deepcompress.data.store import DataConfig  # which needs NumPy; a pull request's report has none

    return params.validate(DataConfig, document.get("data"), "data")


def fingerprint(data: DataConfig, before: str = NOTHING) -> str:
    """Of the files that the data source reads; NOTHING if it reads none of the user's.

    What it was at the last run, `before`, holds on where the images are gone, as in a clone that has what was made of
    them from a remote. A UserError if they are not there, and never were.
    """
    paths = data_inputs(data)
    if not paths:
        return NOTHING
    settings = f"{data.source} {data.options(data.source).model_dump_json()}"
    asked = hashlib.sha256(settings.encode()).hexdigest()[: code_hash.DIGITS]
    digest = hashlib.sha256()
    try:
        for path in paths:
            for file, state in _states(path):
                digest.update(f"{file}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "surrogateescape"))
    except FileNotFoundError as error:
        if before.startswith(asked):
            return before
        raise UserError(f"params.yaml: data.{data.source}: {error.filename}: no such file or folder") from None
    return f"{asked}-{digest.hexdigest()[: code_hash.DIGITS]}"


def data_inputs(data: DataConfig) -> list[Path]:
    """What of the user's the data source reads: an archive, a folder, a table and what it names.

    A UserError if params.yaml does not say where they are, or a table is damaged.
    """
    source, options = params.plugin(data.plugins, data.source), data.options(data.source)
    return list(source.inputs(options)) if hasattr(source, "inputs") else []


def _states(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Each file that counts at or below a path, by its name below it, and what the system knows of it."""
    if not path.is_dir():
        yield path.name, path.stat()
        return
    seen = set()
    for place, folders, names in os.walk(path, followlinks=True):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(name for name in folders if os.path.realpath(os.path.join(place, name)) not in seen)
        for name in sorted(names):
            inside = os.path.relpath(os.path.join(place, name), path).replace(os.sep, "/")
            if not is_litter(inside):
                file = os.path.join(place, name)
                yield inside, os.stat(file) if os.path.exists(file) else os.lstat(file)


def hashes(document: Mapping[str, Any]) -> dict[str, Any]:
    """Nested by key: {"model": {"weights": "0f1e...", "arch": null}, ..., "data": "..."}; null: no file is named."""
    there, nested = named(document), dict[str, Any](data=images(document))
    for key in networks(document):
        inner = nested
        for part in key.split("."):
            inner = inner.setdefault(part, {})
        weights, code = there.get(f"{key}.weights"), there.get(f"{key}.arch")
        inner["weights"] = files.sha256(weights[0]) if weights else None
        inner["arch"] = code_hash.digest_of(code) if code else None
    return nested


def link_(document: Mapping[str, Any], folder: Path) -> None:
    """Make the links in `folder` those to the files that are named, and no others; what is no link is the user's."""
    there = named(document).items()
    wanted = {f"{key}.{number}-{path.name}": path for key, paths in there for number, path in enumerate(paths)}
    for path in data_inputs(_data(document))[:1]:
        if path.is_file():  # an archive or table: DVC looks itself
            wanted[f"data.{path.name}"] = path
    folder.mkdir(exist_ok=True)
    tell_of_images_(document, folder)
    for link in filter(Path.is_symlink, folder.iterdir()):
        if link.name not in wanted or link.readlink() != wanted.pop(link.name):
            link.unlink()
    for name, path in wanted.items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(path)


def tell_of_images_(document: Mapping[str, Any], folder: Path) -> None:
    """Write the file that tells of the user's images, if there are any, and they are not as it says."""
    path, now = folder / IMAGES, images(document)
    if path.is_dir():
        raise UserError(f"{path}: is a folder, and must be a file of ours; give yours another name or place")
    if now == NOTHING:
        path.unlink(missing_ok=True)
    elif not path.is_file() or path.read_bytes() != now.encode():
        files.write_text(path, now)


@contextmanager
def opened_project(root: Path | None = None) -> Iterator[Repo]:
    """The DVC project at `root`, or around the current folder, whose inputs were looked at anew.

    A UserError if DVC is missing, cannot load the project, or stops what is done inside.
    """
    file = Path(root or "", params.PARAMS_FILE)
    if file.is_file():
        params.read_as_written(file)  # says where it is damaged, which DVC does not
    try:
        from dvc.exceptions import DvcException
        from dvc.repo import Repo
    except ImportError:
        raise UserError("dvc is not installed; run this by `uv run`") from None
    look_anew_()
    try:
        with Repo(str(root) if root else None) as repo:
            yield repo
    except DvcException as error:
        raise UserError(click.unstyle(str(error))) from error  # DVC colours addresses, whoever reads


def look_anew_(folder: Path = Path(FOLDER)) -> None:
    """Make the folder such that DVC sees what changed: tell of the images, and remove links to files that are gone.

    DVC would stop at such a link; `plan` says which key names the file.
    """
    with suppress(UserError, ModuleNotFoundError):  # a pull request's report has no NumPy, and no images
        tell_of_images_(params.read(), folder)
    for link in folder.glob("*"):
        if link.is_symlink() and not link.exists():
            link.unlink()


# Choices.


def choices(document: dict[str, Any], code: Hashes) -> dict[str, Hashes]:
    """What decides about stages that depend on keys of results/choices.json.

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
