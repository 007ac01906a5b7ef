"""The models of a plan as files, and the pairs that the plan compares."""

from __future__ import annotations

from pathlib import Path

from deepcompress import files
from deepcompress.errors import UserError

BASELINE = "baseline"
SUFFIX = ".safetensors"


def planned_models(plan: str | Path, folder: str | Path) -> dict[str, Path]:
    """The file of each model id of the plan, the baseline first.

    Raises:
        UserError: If a model of the plan has no file, or a model file under `folder` is not in the plan.
    """
    ids = [BASELINE, *(model for model in _ids(plan, files.read_json(plan)) if model != BASELINE)]
    paths = {model: Path(folder) / f"{model}{SUFFIX}" for model in ids}
    missing = [path for path in paths.values() if not path.is_file()]
    if missing:
        raise UserError(f"{_some(missing)}: no such file, but {plan} names it; run the stage that makes it")
    orphans = sorted(set(Path(folder).rglob(f"*{SUFFIX}")) - set(paths.values()))
    if orphans:
        raise UserError(f"{_some(orphans)}: no model of {plan}; remove it, or `dvc repro plan`")
    return paths


def planned_pairs(plan: str | Path) -> list[tuple[str, str]]:
    """The pairs of a model and its reference that the plan names.

    Raises:
        UserError: If there is no such list, or a pair names a model that is not in the plan.
    """
    content = files.read_json(plan)
    ids, found = _ids(plan, content), content.get("pairs", [])
    if not isinstance(found, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in found):
        raise UserError(f'{plan}: "pairs" must list pairs of ids')
    pairs = [(str(one), str(other)) for one, other in found]
    for model in (model for pair in pairs for model in pair):
        if model not in ids:
            raise UserError(f"{plan}: a pair names {model}, which is no model of the plan")
    return pairs


def _ids(plan: str | Path, content: object) -> list[str]:
    ids = content.get("models") if isinstance(content, dict) else None
    if not isinstance(ids, list) or BASELINE not in ids or not all(isinstance(model, str) for model in ids):
        raise UserError(f'{plan}: "models" must list the ids of models, {BASELINE} among them; got {ids!r:.200}')
    return ids


def _some(paths: list[Path]) -> str:
    return str(paths[0]) + (f" (and {len(paths) - 1} more)" if len(paths) > 1 else "")
