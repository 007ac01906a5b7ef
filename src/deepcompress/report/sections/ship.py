"""What to ship: the recommended model and why, its files, your own configuration, and chains of techniques.

And what models cost to make, in images seen times MACs, and what they run like on the machine that ran this.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from deepcompress.report import charts, queries, tables, text
from deepcompress.report.tables import BASELINE, Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, interval_of, models_part

CHOICE = "Named: the recommended model, the runner-up and the baseline. Dashed: the lowest accuracy that is allowed."
LOST = "Points lost: 95 % interval over images; how far another training would lie from this one it does not hold."
CHOICES: dict[str, Column] = {
    "Model": "model",
    "Validation top-1 % (95 %)": interval_of("validation_top1_pct"),
    "Points lost to baseline (95 %)": lambda row: _lost(row, "drop_points"),
    "to its control (95 %)": lambda row: _lost(row, "control_drop_points"),
    "MiB": ("size_mib", text.mebibytes),
    "Million MACs": ("macs_million", 2),
    "Allowed": lambda row: "yes" if row["allowed"] else str(row["why_not"]),
}
FILES: dict[str, Column] = {
    "File": "file",
    "Model": "model",
    "Weights": "kind",
    "Size, MiB": ("size_bytes", text.mib),
    "Same answer, %": ("agreement_pct", 2),
    "Largest difference of a logit": ("largest_difference", text.digits),
    "Top-1, %": ("top1_pct", 1),
}
COST = (
    "Cost: training images seen times MACs of a forward pass, with all that the model builds on (baseline, teacher, "
    "its answers). Frozen layers that see unchanged images run once. Bars: 95 % intervals."
)
BUDGETS = (1.0, 1.25, 1.5, 2.0, 4.0)  # in trainings of the baseline
BUDGET = "What a budget buys, in trainings of the baseline, which most models build on. Chosen on validation images."
SECONDS = "Seconds: of the stage that made the model, when it last ran; others may have run at the same time."
STAGES, PLAN = "benchmark/stages", "plan"
SPEED = (
    "Medians; bars from quartile to quartile. All models and engines took turns, {n} rounds after {warm_up}. "
    "{processor}, {threads} of {cores} threads. Dashed: the dense float model, in PyTorch beside PyTorch, else in ONNX "
    "Runtime."
)
LATENCY = (
    "A row per model, engine and images per call: median (quartiles). Last column: the source report's way, the mean "
    "of 50 runs of one image in PyTorch without warm-up. These numbers belong to the machine and differ run by run."
)
ALL = "Latency of every model and engine"
LATENCIES: dict[str, Column] = {
    "Model": "model",
    "Engine": lambda row: queries.ENGINES.get(row["engine"], str(row["engine"])),
    "Images per call": ("batch_size", 0),
    "ms (quartiles)": lambda row: text.interval(row, "ms", 2),
    "Times as fast": ("speedup", text.times),
    "50 runs, ms": ("paper_protocol_ms", 2),
}


def ship(data: Tables) -> Section | None:
    """The choice, made on validation images; None while there is nothing to choose from."""
    blocks = [
        *_recommended(data),
        *_files(data),
        *fold("Your configuration (prune.*, quant.*)", "shipped", models_part(data, data.of("shipped"))),
        *fold("Chains of techniques", "combined", _combined(data)),
    ]
    return Section("What to ship", tuple(blocks)) if blocks else None


def _recommended(data: Tables) -> list[Block]:
    note = data.notes.get("recommendation")
    if note is None or data.choice.empty:
        return []
    rows = data.named(data.choice)
    blocks: list[Block] = [Paragraph(note["reason"], strong=True), Paragraph(_heldout(data, note))]
    if len(rows) > 1:
        lowest = note["validation"]["baseline_top1_pct"] - note["limits"]["max_drop_points"]
        title = f"{note['model']} is the smallest allowed (n = {note['n']:,} validation images)"
        drawn = rows.assign(front=False, named=rows["model"].isin((note["model"], note["runner_up"], BASELINE)))
        chart = charts.scatter(drawn, "size_mib", y="validation_top1_pct", limit=lowest)
        blocks.append(Picture("recommendation", title, (chart,), CHOICE))
    timed = {"ms in PyTorch": ("latency_ms", 2)} if rows["latency_ms"].notna().any() else {}
    front, excluded = rows[rows["on_front"]].sort_values(["size_mib", "model"]), rows[~rows["allowed"]]
    title = f"{text.count(len(front), 'model')} on the Pareto front of accuracy, bytes, MACs"
    why_not = Table.of(excluded, CHOICES, LOST, f"{text.count(len(excluded), 'model')} not allowed, and why")
    return [*blocks, Table.of(front, CHOICES | timed, LOST, title), *([] if excluded.empty else [why_not])]


def _heldout(data: Tables, note: dict[str, Any]) -> str:
    """What the held-out images say of the choice that they had no part in."""
    runner_up = f" The runner-up is {note['runner_up']}." if note["runner_up"] else ""
    rows = data.models[data.models["model"] == note["model"]]
    if rows.empty:
        return f"It was not measured on the held-out images.{runner_up}"
    row = rows.iloc[0]
    beside = "" if pd.isna(row["difference"]) else f", {text.change(row)}"
    chosen = f"On the {int(row['n']):,} held-out images, which it was not chosen on"
    return f"{chosen}: {text.accuracy(row)} %{beside}.{runner_up}"


def _lost(row: pd.Series, column: str) -> str:
    of = text.estimate(row, column)
    return text.number(of.value) + ("" if pd.isna(of.low) else f" ({text.signed(of.low)} to {text.signed(of.high)})")


def _files(data: Tables) -> list[Block]:
    """Whether each exported file answers as the model that it was made from, on the same held-out images."""
    rows = data.further("deploy/parity")
    if rows.empty:
        return []
    ordered = rows.sort_values("agreement_pct", kind="stable")
    least, most = ordered.iloc[0], ordered.iloc[-1]
    share = f"{text.number(least['agreement_pct'])} % of the answers are the same"
    alike = f"of all files, {least['file']} agrees least with its model: {share}"
    if least["agreement_pct"] == most["agreement_pct"]:
        alike = f"of each file and its model {share}"
    recommended = rows.loc[rows["file"] == "model.onnx", "model"].iloc[0]
    best = rows[rows["model"] == recommended].sort_values("size_bytes", kind="stable").iloc[0]
    finding = (
        f"The smallest ONNX file of the recommended model, models/deploy/{best['file']} ({best['kind']}), takes "
        f"{text.mib(best['size_bytes'])} MiB and gets {text.number(best['top1_pct'])} % right; {alike}."
    )
    caption = f"Against the same model in PyTorch, on {text.count(int(rows['n'].iloc[0]), 'held-out image')}."
    return fold("Files to deploy", "deploy", [Paragraph(finding, strong=True), Table.of(rows, FILES, caption)])


def _combined(data: Tables) -> list[Block]:
    """Several techniques on one model, and what a teacher adds to the same steps without one."""
    rows = data.of("combined")
    gains = [
        f"{row['model']} against {row['control']}, which had no teacher: {text.difference(gain, phrase=True)} points"
        for _, row in rows.dropna(subset=["teacher"]).iterrows()
        if (gain := data.differences.get((row["model"], row["control"]))) is not None
    ]
    taught = [Paragraph("; ".join(gains) + ".")] if gains else []
    return [*models_part(data, rows), *taught]


# What it costs to make, and what it runs like.


def cost(data: Tables) -> Section | None:
    """Accuracy against cost, what a budget buys, and a row per model; None where neither cost nor time is known."""
    rows, blocks = queries.costs(data), _times(data)
    if len(rows) >= 2:
        spans = [
            f"{family} {' to '.join(dict.fromkeys(text.times(end) for end in span))}"
            for family, span in queries.cost_spans(rows).items()
        ]
        lead = Paragraph(f"Cost in trainings of the baseline: {', '.join(spans)}.", strong=True)
        picture = Picture("cost", "Accuracy against cost to make", (charts.front(rows, "total"),), COST)
        blocks = [lead, picture, _budgets(data, rows), _every_model(data, rows), *blocks]
    return Section("What it costs to make", tuple(blocks)) if blocks else None


def _budgets(data: Tables, rows: pd.DataFrame) -> Table:
    """Section 4.9's question as a table: the best that each budget pays for."""
    cells = []
    for budget in BUDGETS:
        models = queries.within_budget(rows, budget)
        best, small = tables.best_chosen(data, models), tables.selected(data, models)
        accurate = text.MISSING if best is None else f"{best['model']}: {text.accuracy(best)}"
        smallest = text.MISSING if small is None else f"{small['model']}: {text.smaller(small)}"
        cells.append((f"{text.number(budget, 2)}×", str(len(models)), accurate, smallest))
    limit = f"Smallest that loses at most {text.number(data.max_drop_points)} points"
    return Table(("Budget", "Models within", "Most accurate of them, %", limit), tuple(cells), BUDGET)


def _every_model(data: Tables, rows: pd.DataFrame) -> Table:
    """Every model's cost; beside it its seconds, where stages ran here."""
    rows = rows.sort_values(["total", "model"])
    stages, planned = data.further(STAGES, "stage", "seconds"), data.further(PLAN, "id", "stage")
    took = dict(zip(stages["stage"].astype(str), stages["seconds"].astype(float), strict=True))
    spent = {model: took[stage] for model, stage in zip(planned["id"], planned["stage"], strict=True) if stage in took}
    columns: dict[str, Column] = {
        "Model": "model",
        "Own cost, 10¹² MACs": (queries.OWN, 3),
        "With all below it": ("total", 3),
        "Times the baseline's": ("trainings", text.times),
        "Its stage, s": lambda row: text.number(spent.get(row["model"], float("nan"))),
        "Top-1 % (95 %)": text.accuracy,
    }
    return Table.of(rows, columns, SECONDS if spent else "", folded="Cost of every model")


def _times(data: Tables) -> list[Block]:
    """How long each stage took on the machine that ran the pipeline, the longest first."""
    rows = data.further(STAGES)
    if rows.empty:
        return []
    longest = rows.sort_values(["seconds", "stage"], ascending=[False, True])
    minutes, stages = text.number(rows["seconds"].sum() / 60), text.count(len(rows), "stage")
    lead = f"{stages} took {minutes} minutes in all, DVC's own work apart; of each the last time that it ran."
    return [Table.of(longest, {"Stage": "stage", "Seconds": ("seconds", 1)}, lead, folded="Time of each stage")]


def run(data: Tables) -> Section | None:
    """None where nothing was timed."""
    rows, machine = queries.latency(data), data.notes.get("benchmark/machine")
    if rows.empty or machine is None:
        return None
    ms = {end: rows[f"latency_ms_{part}"] for end, part in (("", "p50"), ("_low", "p25"), ("_high", "p75"))}
    rows = rows.assign(**{f"ms{end}": times for end, times in ms.items()})
    low, high = (rows["dense_ms_p50"] / ms[end] for end in ("_high", "_low"))
    engines = rows["engine"].map(queries.ENGINES).fillna(rows["engine"])
    drawn = rows.assign(speedup_low=low, speedup_high=high, engine=engines, name=rows["model"])
    panels = tuple(
        charts.dots(timed, "speedup", f"times as fast, {size} image(s) per call", series="engine",
                    levels={"dense": 1.0}, low=0)
        for size, timed in drawn.groupby("batch_size")
    )  # fmt: skip
    caption = SPEED.format(n=int(rows["n"].iloc[0]), **machine)
    title = "How fast each model is, beside the dense float model in the same engine"
    findings = [Paragraph(sentence, strong=True) for sentence in speed_findings(rows)]
    picture = Picture("speed", title, panels, caption, across=2)
    return Section("What it runs like", (*findings, picture, Table.of(rows, LATENCIES, LATENCY, ALL)))


def speed_findings(rows: pd.DataFrame) -> list[str]:
    """Of `queries.latency`, a sentence for each model that is said to be fast for a reason, at every batch size."""
    pruned = rows["family"] == "pruned"
    claims = {
        "Zeros alone": rows[pruned & (rows["method"] == "unstructured") & (rows["engine"] == queries.FLOAT)],
        "Removed channels": rows[pruned & (rows["method"] == "structured") & (rows["engine"] == queries.FLOAT)],
        "int8": rows[(rows["model"] == BASELINE) & (rows["engine"] == queries.INT8)],
        "int4": rows[(rows["family"] == "quantized") & (rows["engine"] == queries.INT4)],
    }
    sentences = []
    for reason, timed in claims.items():
        for model, of_model in timed.sort_values(["sparsity", "model", "batch_size"]).groupby("model", sort=False):
            calls = zip(of_model["speedup"], of_model["batch_size"], of_model["differs"], strict=True)
            parts = [
                f"{text.times(speedup)} at batch {size}{'' if told else ' (quartiles overlap)'}"
                for speedup, size, told in calls
            ]
            sentences.append(f"{reason} ({model}) in ONNX Runtime: {', '.join(parts)}.")
    return sentences


SECTIONS = {"ship": (10, ship), "cost": (50, cost), "speed": (60, run)}
