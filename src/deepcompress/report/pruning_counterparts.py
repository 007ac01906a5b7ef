"""Figures 1 to 10 and tables 1 and 2 of the source report, on pruning, each beside what this run measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from deepcompress.report import compare, paper, pruning, pruning_claims, qualities, speed, text, weights
from deepcompress.report.counterpart_rules import (
    AGREES,
    CONTRADICTS,
    SAME,
    WORDS,
    Counterpart,
    counted,
    measured,
    of_claim,
    ordered,
    spread,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from deepcompress.report.tables import Tables

WEIGHTS, LAYERS, PRUNED, SAVED = "pruned_weights", "sensitivity", "pruned", "pruned_storage"
DEEP = 0.7  # the sparsity at which its text gives the last convolution's accuracy
CONVOLUTIONS = "convolutions hold another share of all weights"
ONE_POINT = 0.01  # shares of zeros this close are equal


def figure_1(data: Tables) -> Counterpart:
    said = "the weights of every layer spread around zero (histograms without numbers)"
    one = Counterpart("Figure 1", "Weights before pruning", WEIGHTS, said)
    found = weights.drawn(data, "unstructured") or weights.drawn(data, "structured")
    if found is None:
        return one
    layer, distance = weights.furthest_from_zero(found[0])
    here = f"a layer's mean lies at most {text.number(distance, 2)} standard deviations from zero ({layer})"
    return measured(one, here, AGREES if distance < weights.NEAR else CONTRADICTS)


def figure_2(data: Tables) -> Counterpart:
    return _gathered(data, "unstructured", "Figure 2")


def figure_3(data: Tables) -> Counterpart:
    return _gathered(data, "structured", "Figure 3")


def figure_4(data: Tables) -> Counterpart:
    said = "fully connected layers mind single zeros more than convolutions do (curves without numbers)"
    one = Counterpart("Figure 4", "Sensitivity of layers to single zeros", LAYERS, said)
    return of_claim(one, pruning_claims.convolutions_bear_more(data), "with nine tenths of a layer zero, ")


def figure_5(data: Tables) -> Counterpart:
    """The order of the first and the last convolution, and the one accuracy that its text reads from the curves."""
    theirs, base = data.paper["pruned"]["sensitivity_notes"], data.paper["baseline"]["top1_pct"]
    kept = theirs["structured_features_18_at_0_70"]
    said = (
        "the first convolutions mind removed filters more than the last, which keeps "
        f"{text.number(kept)} % at 70 % ({text.percent(kept, base)} % of its baseline)"
    )
    one = Counterpart("Figure 5", "Sensitivity of layers to removed filters", LAYERS, said)
    claim, deep = pruning_claims.first_layers_are_sensitive(data), ""
    scanned = pruning_claims.scanned(data, "structured", DEEP)
    last = scanned[scanned["model"].str.startswith("features")].tail(1) if not scanned.empty else scanned
    if not last.empty:
        row, whole = last.iloc[0], pruning_claims.scanned(data, "structured", 0.0)
        share = "" if whole.empty else f", {text.percent(row['top1_pct'], whole['top1_pct'].max())} % of the baseline"
        deep = f"; {row['model']} keeps {text.accuracy(row)} % at 70 %{share}"
    return of_claim(one, claim, "with half of the filters gone, ", deep)


def figure_6(data: Tables) -> Counterpart:
    said = "single zeros keep the baseline's attention, removed filters shift it (one image, no numbers)"
    one = Counterpart("Figure 6", "Grad-CAM of pruned models", "attention", said)
    return of_claim(one, pruning_claims.zeros_keep_attention(data))


def figure_7(data: Tables) -> Counterpart:
    theirs = paper.pruned(data)
    said = ", ".join(f"{model} {text.number(top1, 2)} %" for model, top1 in theirs.items())
    one = Counterpart("Figure 7", "Accuracy of pruned models", PRUNED, said)
    rows = data.models[data.models["model"].isin(theirs)]
    here = ", ".join(f"{row['model']} {text.accuracy(row)} %" for _, row in rows.iterrows())
    here = f"{here}, compared as points to each one's own baseline"
    return measured(one, here, compare.agreement(data.of("pruned"), theirs))


def figure_8_storage(data: Tables) -> Counterpart:
    """Shares of the bytes that are zeros; those of removed filters depend on how many weights convolutions hold."""
    theirs, found = data.paper["storage_mib"], qualities.stored(data)
    shares = {method: _zero_share(theirs[method]) for method in pruning.METHODS}
    said = ", ".join(f"{text.number(100 * share)} % zeros ({method})" for method, share in shares.items())
    said = f"{said} of {text.number(theirs['baseline']['nonzero'], 1)} MiB that stay as large"
    one = Counterpart("Figure 8 (storage)", "Bytes of zeros and of other weights", SAVED, said)
    if not found:
        return one
    ours = {method: qualities.state(rows, "masked") for method, rows in found.items()}
    parts = {method: row["zero_mib"] / row["total_mib"] for method, row in ours.items()}
    here = ", ".join(f"{text.number(100 * share)} % zeros ({method})" for method, share in parts.items())
    other = [method for method, share in parts.items() if abs(share - shares[method]) > ONE_POINT]
    agreeing = [method for method in parts if method not in other]
    words = [f"{AGREES} for {' and '.join(agreeing)}"] if agreeing else []
    words += [f"not comparable for {' and '.join(other)}, because {CONVOLUTIONS}"] if other else []
    total = next(iter(ours.values()))["total_mib"]
    return measured(one, f"{here} of {text.number(total, 2)} MiB that stay as large when held dense", "; ".join(words))


def figure_8_time(data: Tables) -> Counterpart:
    """Both of its pruned models are a little faster; ours are where their quartiles lie apart from the baseline's."""
    rows = data.extra.get("benchmark/latency", pd.DataFrame())
    said, here, _ = speed.beside_the_paper(rows, data.paper["inference_ms"])
    one = Counterpart("Figure 8 (time)", "Time of one image", "speed", said)
    timed = speed.least_pruned(rows)
    words = [f"{_faster(rows, row)} ({method})" for method, row in timed.items() if method != speed.BASELINE]
    return measured(one, here, ", ".join(words)) if words else one


def figure_9(data: Tables) -> Counterpart:
    said = "seven aspects of structured and unstructured pruning in words"
    one = Counterpart("Figure 9", "Qualities of both kinds of pruning", SAVED, said)
    words = [WORDS[word] for word in qualities.verdicts(data)]
    if not words:
        return one
    rest = ", ".join(f"{words.count(word)} {word}" for word in dict.fromkeys(words) if word != AGREES)
    verdict = counted(words.count(AGREES), len(words), "aspects")
    return measured(one, "a number to each, in the table above", f"{verdict}, {rest}" if rest else verdict)


def figure_10(data: Tables) -> Counterpart:
    said = "accuracy drops sharply beyond 50 % zeros (a curve without numbers)"
    one = Counterpart("Figure 10", "Accuracy against sparsity", PRUNED, said)
    return of_claim(one, pruning_claims.accuracy_falls_beyond_half(data))


def table_1(data: Tables) -> Counterpart:
    return _shared_out(data, "unstructured", "Table 1")


def table_2(data: Tables) -> Counterpart:
    return _shared_out(data, "structured", "Table 2")


def _gathered(data: Tables, method: str, number: str) -> Counterpart:
    said = f"after {method} pruning at 50 %, weights concentrate near zero (histograms without numbers)"
    one = Counterpart(number, f"Weights after {method} pruning", WEIGHTS, said)
    if (found := weights.drawn(data, method)) is None:
        return one
    rows, sparsity = found
    before, after = (weights.near_zero_pct(rows, state) for state in ("dense", "masked"))
    here = (
        f"at {100 * sparsity:.0f} %, before training on, {text.number(after)} % of the weights that are not zero lie "
        f"within half a standard deviation of it, {text.number(before)} % in the baseline"
    )
    gathers = after > before
    return measured(one, here, AGREES if gathers else f"{CONTRADICTS}: what gathers there is the zeros alone")


def _shared_out(data: Tables, method: str, number: str) -> Counterpart:
    """The sparsities of the layers by their order, pair by pair, for they are shares of other networks' weights."""
    theirs = data.paper["pruned"][method]
    said = f"{spread(theirs['assigned'])} by layer, {theirs['overall']} overall, achieved as assigned"
    one = Counterpart(number, f"Sparsity of each layer, {method}", LAYERS, said)
    rows = pruning.extra(data, "allocation", method)
    if rows is None:
        return one
    achieved = rows.set_index("layer")["achieved_sparsity"]
    layers = achieved.drop(pruning.OVERALL)
    here = f"{spread(dict(layers))} by layer, {achieved[pruning.OVERALL]:.6f} overall, achieved"
    names = pruning.paper_names(list(achieved.index))
    if not names:
        return measured(one, here, "not comparable, because the layers are not those of its VGG-11")
    ours = {names[str(layer)]: share for layer, share in layers.items()}
    same, reverse, equal = ordered(theirs["assigned"], ours)
    pairs = same + reverse + equal
    here += f"; of {pairs} pairs of layers that it tells apart, {same} are in its order, {reverse} in the reverse"
    against = f", {CONTRADICTS} in {reverse}" if same and reverse else ""
    return measured(one, here, counted(same, pairs, "pairs of layers") + against)


def _faster(rows: pd.DataFrame, row: pd.Series) -> str:
    if not speed.told_apart(rows, row):
        return SAME
    return AGREES if row["speedup"] > 1 else CONTRADICTS


def _zero_share(storage: dict[str, float]) -> float:
    return storage["zero"] / (storage["zero"] + storage["nonzero"])


COUNTERPARTS: tuple[Callable[[Tables], Counterpart], ...] = (
    figure_1,
    figure_2,
    figure_3,
    figure_4,
    figure_5,
    figure_6,
    figure_7,
    figure_8_storage,
    figure_8_time,
    figure_9,
    figure_10,
    table_1,
    table_2,
)
