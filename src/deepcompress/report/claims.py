"""The source report's claims, figures and tables beside what was measured here, each with a verdict.

claims.yaml holds the rows, this file the rules that they name. A difference decides by p as Holm corrects it, in the
family that the rest of the page judges it in: it agrees on the claimed side of zero, contradicts on the other, and else
is not significant. What claims alone compare, as maps, weighted sums or a loss with its limit, is a family of its own.
Where trainings differ, all is over seeds; without replicates nothing is tested. Bytes, MACs and sparsities are counted
and have no interval. Differences in points are compared on CIFAR-100 alone, with the error that the source report's
10,000 images have; on other data only orders are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd

from deepcompress.measure.verdict import Estimate, reason
from deepcompress.report import estimates, queries, text
from deepcompress.report.estimates import AGREES, CONTRADICTS, IN_PART, INCOMPARABLE, SAME, UNDECIDED, UNTESTED
from deepcompress.report.tables import BASELINE, Tables

Row = estimates.Row
ONE_POINT = 0.01  # shares of zeros this close are equal
ZEROS_ALONE = "only the zeros concentrate"
ALLOWED = {"keeps": "points may go", "similar": "either way are similar"}  # rule -> what the limit is of


@dataclass(frozen=True)
class Comparison:
    """One statement of the source report beside what was measured."""

    # AGREES, CONTRADICTS, SAME, UNDECIDED or UNTESTED; IN_PART of several that differ, or INCOMPARABLE.
    verdict: str = UNTESTED
    evidence: str = ""  # what was measured, with intervals and n; for UNTESTED, why, if there is more to say
    note: str = ""  # what the verdict counts, or why it is so
    # Of a claim that one difference tests: that there is none, or that it is just as large as is allowed.
    p: float = math.nan
    holm_p: float = math.nan  # the same, corrected for the family of that difference

    @property
    def judgement(self) -> str:
        """The verdict with its note."""
        return f"{self.verdict} ({self.note})" if self.note else self.verdict


def compared(data: Tables, kind: str) -> dict[str, Comparison]:
    """All of the kind `claims` or `figures` (and tables), measured or not, by name in the order of claims.yaml."""
    return {name: claim(data, name) for name in estimates.content()[kind]}


@lru_cache(maxsize=128)  # figures name claims and other figures
def claim(data: Tables, name: str) -> Comparison:
    """One of the claims, figures and tables."""
    row = (estimates.content()["claims"] | estimates.content()["figures"])[name]
    return RULES[row["rule"]](data, row) or Comparison()


# Rules of claims: tables and a row of claims.yaml -> a comparison; None where something was not measured.


def higher(data: Tables, row: Row) -> Comparison | None:
    """The first side lies above the second, of a side of several models the best; or a weighted sum lies above zero."""
    if (sides := _sides(data, row)) is None:
        return None
    measure = estimates.measure_of(row)
    apart = _own(data).get(row["statement"]) or estimates.difference(data, row, *sides)
    both = "; ".join(estimates.spelled(side, measure) for side in sides)
    what, digits, unit = (row["sum"], 2, " points") if "sum" in row else ("difference", measure.get("digits", 1), "")
    spelled = text.spanned(apart, digits, text.signed)
    return _by_difference(apart, f"{both}; {what} {spelled}{unit} ({_n(sides)}{measure.get('images', '')})")


def within_limit(data: Tables, row: Row) -> Comparison | None:
    """The first model loses no more than `deploy.max_drop_points` against the second, or gains no more, either.

    By what is left to the limit, or lies beyond it: where that may be nothing, the claim is open.
    """
    if (sides := _sides(data, row)) is None:
        return None
    apart, (model, reference) = estimates.difference(data, row, *sides), (side.name for side in sides)
    size = text.smaller(estimates.chosen(data, {"model": model}).iloc[0])
    smaller = f", {size}" if reference == BASELINE else ""
    limit = f"{text.number(data.max_drop_points)} {ALLOWED[row['rule']]}, {_n(sides)}"
    evidence = f"{model} against {reference}: {text.spanned(apart, 1, text.signed)} points{smaller} ({limit})"
    found = _by_difference(_own(data)[row["statement"]], evidence)
    return replace(found, verdict=UNDECIDED) if found.verdict == SAME else found


def timed(data: Tables, row: Row) -> Comparison | None:
    """A model is faster than the dense float one at every batch size, by quartiles that lie apart; or at none."""
    rows, models = queries.latency(data), estimates.chosen(data, row["sides"][0])["model"]
    some = rows[rows["model"].isin(models) & (rows["engine"] == row["engine"])]
    if some.empty:
        return None
    gains, losses = some["differs"] & (some["speedup"] > 1), some["differs"] & (some["speedup"] < 1)
    agrees, contradicts = (gains.all(), losses.any()) if row["faster"] else (not gains.any(), gains.all())
    verdict = AGREES if agrees else CONTRADICTS if contradicts else UNDECIDED
    parts = ", ".join(f"{text.times(call['speedup'])} at batch {call['batch_size']}" for _, call in some.iterrows())
    where, n = f"{some['model'].iloc[0]} in {queries.ENGINES[row['engine']]}", int(some["n"].iloc[0])
    return Comparison(verdict, f"{where}: {parts} (n = {n} calls each)")


def saves(data: Tables, row: Row) -> Comparison | None:
    """The files of all sides are smaller than the baseline's by a share or more."""
    sides = {side: estimates.chosen(data, side) for side in row["sides"]}
    rows = pd.concat(sides.values())
    saved_pct = 100 - 100 / rows["times_smaller"]
    saved = zip(rows["model"], rows["times_smaller"], saved_pct, strict=True)
    parts = [f"{model}: {text.times(times)} smaller, by {text.number(pct, 0)} %" for model, times, pct in saved]
    if not parts:
        return None
    if missing := [side for side, of_side in sides.items() if of_side.empty]:
        return Comparison(UNTESTED, "; ".join(parts), f"not measured: {', '.join(missing)}")
    return Comparison(AGREES if (saved_pct >= row["least_pct"]).all() else CONTRADICTS, "; ".join(parts))


def costliest(data: Tables, row: Row) -> Comparison | None:
    """The costliest model of the first family, with all that it builds on, costs more than that of any other."""
    rows = estimates.chosen(data, {"family": row["families"]}).dropna(subset=[queries.TOTAL])
    most = rows.sort_values([queries.TOTAL, "model"]).groupby("family").tail(1)
    if len(most) < len(row["families"]):
        return None
    verdict = AGREES if most["family"].iloc[-1] == row["families"][0] else CONTRADICTS
    costs = zip(most["model"], most[queries.TOTAL], strict=True)
    listed = "; ".join(f"{model}: {text.number(cost, 2)}·10¹² MACs" for model, cost in costs)
    return Comparison(verdict, f"costliest of each: {listed}")


def smallest_that_keeps(data: Tables, row: Row) -> Comparison | None:
    """A model keeps to the allowed loss and no smaller one of its family might."""
    rows = estimates.chosen(data, {"family": row["family"]}).dropna(subset=["difference"]).sort_values("model")
    own = rows[rows["model"].isin(estimates.chosen(data, row["sides"][0])["model"])]
    if own.empty or len(rows) == 1:
        return None
    above = (estimates.above(of, data.max_drop_points) for of in rows["difference"])
    judged = estimates.corrected(dict(zip(rows["model"], above, strict=True)))
    compared = [*own["model"], *rows.loc[rows["size_bytes"] < own["size_bytes"].iloc[0], "model"]]
    mine, *smaller = (estimates.outcome(judged[model]) for model in compared)
    agrees = mine == AGREES and set(smaller) <= {CONTRADICTS}
    verdict = AGREES if agrees else CONTRADICTS if mine == CONTRADICTS or AGREES in smaller else UNDECIDED
    parts = "; ".join(
        f"{other['model']}: {text.difference(other['difference'])} points, {text.smaller(other)}"
        for _, other in rows.iterrows()
    )
    evidence = f"{parts} ({text.number(data.max_drop_points)} points may go, {text.sample(own['n'].iloc[0])})"
    why = [reason(judged[model].phrase) for model in compared if not judged[model].tested]
    return Comparison(UNTESTED, evidence, why[0]) if why else Comparison(verdict, evidence)


def untested(_data: Tables, row: Row) -> Comparison:
    """What nothing here tests, and why."""
    return Comparison(UNTESTED, row["why"])


@lru_cache(maxsize=1)
def _own(data: Tables) -> dict[str, Estimate]:
    """Statement -> what claims alone compare: weighted sums, measures other than accuracy, a loss with its limit."""
    apart = {}
    for row in estimates.content()["claims"].values():
        alone = row["rule"] in ALLOWED or (row["rule"] == "higher" and {"measure", "factors"} & set(row))
        if alone and (parts := _sides(data, row)):
            apart[row["statement"]] = _compare(data, row, parts)
    return estimates.corrected(apart)


def _compare(data: Tables, row: Row, parts: list[Estimate]) -> Estimate:
    """A weighted sum, or a difference, or how far that lies within the limit: of `similar`, within the nearer one."""
    if "factors" in row:
        return estimates.contrast(data, parts, list(row["factors"].values()))
    of = estimates.difference(data, row, *parts)
    if row["rule"] == "similar":
        of = -of if of.value > 0 else of
    return of if row["rule"] == "higher" else estimates.above(of, data.max_drop_points)


def _sides(data: Tables, row: Row) -> list[Estimate] | None:
    """The best of each side of a row, by the mean over seeds; None where one of them was not measured."""
    sides = [estimates.measured(data, row, side) for side in row.get("factors", row.get("sides"))]
    if not all(sides):
        return None
    known = {} if "measure" in row else data.differences
    return [max(side, key=lambda of: (known.get((of.name, BASELINE), of).value, of.name)) for side in sides]


def _by_difference(apart: Estimate, evidence: str) -> Comparison:
    """By which side of zero a difference lies on; without an interval there is no verdict."""
    if math.isnan(apart.low):
        return Comparison(UNTESTED, evidence, reason(apart.phrase))
    return Comparison(estimates.outcome(apart), evidence, apart.note, p=apart.p, holm_p=apart.holm_p)


def _n(sides: Sequence[Estimate]) -> str:
    return f"n = {' and '.join(dict.fromkeys(f'{side.n:,}' for side in sides))}"


# Rules of figures and tables.


def same_as_claim(data: Tables, row: Row) -> Comparison | None:
    """Judged as a claim is, with further numbers behind its evidence."""
    found = claim(data, row["claim"])
    if not found.evidence:
        return None
    further = [
        estimates.spelled(estimate, estimates.measure_of(more)) + more.get("ending", "")
        for more in row.get("also", ())
        for side in more["sides"]
        for estimate in estimates.measured(data, more, side)
    ]
    evidence = "; ".join((row.get("opening", "") + found.evidence, *further))
    return Comparison(found.verdict, evidence, found.note)


def points(data: Tables, row: Row) -> Comparison | None:
    """The differences of a family's models to each one's own baseline; on other data their order alone."""
    if not estimates.is_cifar100(data):
        seen = orders(data, row)
        return seen and replace(seen, note=f"{seen.note}; points: {INCOMPARABLE}")
    here = estimates.accuracies(data, estimates.source_top1(data, row["family"]))
    words = estimates.outcomes(data, row["family"])
    return _tally(list(words.values()), here, "models, in points to each one's own baseline")


def orders(data: Tables, row: Row) -> Comparison | None:
    """Each pair of models that the source report's accuracies, of 10,000 images, tell apart: is its order seen here?"""
    words, top1 = [], estimates.source_top1(data, row["family"])
    theirs = {model: estimates.interval(value) for model, value in top1.items()}
    here = {estimate.name: estimate for estimate in estimates.measured(data, row, {"model": list(theirs)})}
    teacher = estimates.chosen(data, {"model": list(theirs)}).set_index("model")["teacher"].astype(object).fillna("")
    for first, second in itertools.permutations(theirs, 2):
        told = estimates.combined((theirs[first], theirs[second]), (1, -1)).low > 0
        if told and teacher[first] == teacher[second]:
            words.append(estimates.outcome(estimates.difference(data, row, here[first], here[second])))
    return _tally(words, estimates.accuracies(data, theirs), "pairs of models that its n = 10,000 tells apart")


def layer_order(data: Tables, row: Row) -> Comparison | None:
    """The sparsities of the layers by their order, pair by pair, for they are shares of other networks' weights."""
    rows, theirs = queries.extra(data, "allocation", row["method"]), data.paper["pruned"][row["method"]]["assigned"]
    if rows is None:
        return None
    achieved = rows.set_index("layer")["achieved_sparsity"]
    layers = achieved.drop(queries.OVERALL)
    ends = " to ".join(text.number(end, 2) for end in (layers.min(), layers.max()))
    evidence = f"{ends} by layer, {achieved[queries.OVERALL]:.6f} overall, achieved"
    names = queries.source_layers(data, achieved.index)
    if not names:
        return Comparison(INCOMPARABLE, evidence, "the layers are not those of its VGG-11")
    both = [(theirs[names[str(layer)]], share) for layer, share in layers.items()]
    products = [(a - c) * (b - d) for (a, b), (c, d) in itertools.combinations(both, 2) if a != c]
    words = [AGREES if product > 0 else CONTRADICTS if product else SAME for product in products]
    return _tally(words, evidence, "pairs of layers that it tells apart")


def zero_bytes(data: Tables, _row: Row) -> Comparison | None:
    """Shares of the bytes that are zeros; those of removed filters depend on how many weights convolutions hold."""
    theirs = data.paper["storage_mib"]
    rows = {method: row for (method, state), row in stored(data).items() if state == "masked"}
    if not rows:
        return None
    shares = {method: row["zero_mib"] / row["total_mib"] for method, row in rows.items()}
    wanted = {method: theirs[method]["zero"] / (theirs[method]["zero"] + theirs[method]["nonzero"]) for method in rows}
    words = {name: AGREES if abs(shares[name] - wanted[name]) <= ONE_POINT else INCOMPARABLE for name in shares}
    parts = ", ".join(f"{text.number(100 * share)} % zeros ({method})" for method, share in shares.items())
    total = text.number(next(iter(rows.values()))["total_mib"], 2)
    found = _together(words, f"{parts} of {total} MiB that stay as large when held dense")
    why = ", because convolutions hold another share of all weights" if INCOMPARABLE in words.values() else ""
    return replace(found, note=found.note + why)


def one_image(data: Tables, _row: Row) -> Comparison | None:
    """Both of its pruned models are a little faster; ours, the least pruned that was timed of each method, are where
    their quartiles lie apart from the baseline's, one image in PyTorch.
    """
    rows, words, parts = queries.latency(data), {}, []
    timed = rows[(rows["engine"] == queries.PYTORCH) & (rows["batch_size"] == 1)]
    for method in queries.METHODS if BASELINE in set(timed["model"]) else ():
        pruned = timed[(timed["family"] == "pruned") & (timed["method"] == method)]
        for _, row in pruned.sort_values("sparsity").head(1).iterrows():
            words[method] = UNDECIDED if not row["differs"] else AGREES if row["speedup"] > 1 else CONTRADICTS
            parts.append(f"{row['model']} is {text.number(row['speedup'], 2)}× as fast as the baseline, by medians")
    return _together(words, "; ".join(parts)) if words else None


def centred(data: Tables, _row: Row) -> Comparison | None:
    """The mean of every layer's weights lies near zero."""
    if (found := queries.histograms(data, "unstructured") or queries.histograms(data, "structured")) is None:
        return None
    layer, distance = queries.furthest_from_zero(found[0])
    evidence = f"a layer's mean lies at most {text.number(distance, 2)} standard deviations from zero ({layer})"
    return Comparison(AGREES if distance < queries.NEAR else CONTRADICTS, evidence)


def concentrated(data: Tables, row: Row) -> Comparison | None:
    """Of the weights that pruning left, more lie near zero than before."""
    if (found := queries.histograms(data, row["method"])) is None:
        return None
    before, after = (queries.near_zero_pct(found[0], name) for name in ("dense", "masked"))
    evidence = (
        f"at {100 * found[1]:.0f} %, before fine-tuning, {text.number(after)} % of the weights that are not zero lie "
        f"in the inner sixth of their layer's range, {text.number(before)} % in the baseline"
    )
    return Comparison(AGREES, evidence) if after > before else Comparison(CONTRADICTS, evidence, ZEROS_ALONE)


def aspects(data: Tables, _row: Row) -> Comparison | None:
    """Figure 9's aspects, each judged by claims or by a count."""
    words = aspect_words(data)
    return _together(words, "a number to each, in the table below") if words else None


def together(data: Tables, row: Row) -> Comparison | None:
    """Several figures as one."""
    words = {name: claim(data, number).verdict for name, number in row["parts"].items()}
    return None if set(words.values()) == {UNTESTED} else _together(words, "the table above, both sides in columns")


RULES: dict[str, Callable[[Tables, Row], Comparison | None]] = dict.fromkeys(ALLOWED, within_limit) | {
    rule.__name__: rule
    for rule in (
        higher, timed, saves, costliest, smallest_that_keeps, untested, same_as_claim, points, orders,
        layer_order, zero_bytes, one_image, centred, concentrated, aspects, together,
    )
}  # fmt: skip


def _together(words: Mapping[str, str], evidence: str) -> Comparison:
    """One verdict of several, and the names that have each."""
    names = {word: [name for name in words if words[name] == word] for word in dict.fromkeys(words.values())}
    if len(names) == 1:
        return Comparison(next(iter(names)), evidence)
    order = (CONTRADICTS, SAME, UNDECIDED, INCOMPARABLE, UNTESTED)
    verdict = IN_PART if {AGREES, IN_PART} & set(names) else next(word for word in order if word in names)
    return Comparison(verdict, evidence, "; ".join(f"{word}: {', '.join(named)}" for word, named in names.items()))


def _tally(words: Sequence[str], evidence: str, what: str) -> Comparison | None:
    """One verdict of many comparisons, and how many have each."""
    if not words:
        return None
    listed = (AGREES, CONTRADICTS, SAME, UNTESTED)
    counts = ", ".join(f"{word} in {words.count(word)}" for word in listed if word in words)
    tested = [word for word in words if word != UNTESTED] or words
    one = _together({str(i): word for i, word in enumerate(tested)}, evidence)
    return replace(one, note=f"of {len(words)} {what}: {counts}")


# What figures 8 and 9 count.


def stored(data: Tables) -> dict[tuple[str, str], pd.Series]:
    """Storage at the source report's sparsity, by method and state: dense, masked or trained."""
    tables = {method: queries.extra(data, "storage", method) for method in queries.METHODS}
    return {(method, row["state"]): row for method, rows in tables.items() if rows is not None
            for _, row in rows.iterrows()}  # fmt: skip


def aspect_words(data: Tables) -> dict[str, str]:
    """A verdict for each aspect, the least sure one of several claims; empty without both methods."""
    if not (states := storage_states(data)):
        return {}
    dense, loose, before, tight = states
    counts = {
        "channels": tight["parameters"] < before["parameters"] and loose["parameters"] == dense["parameters"],
        "compact": tight["dense_bytes"] < before["dense_bytes"] and loose["bitmask_bytes"] < loose["dense_bytes"],
    }
    words = {}
    for row in estimates.content()["aspects"]:
        verdicts = [claim(data, name).verdict for name in row.get("claims", ())]
        if "count" in row:
            verdicts.append(AGREES if counts[row["count"]] else CONTRADICTS)
        unsure = [word for word in (UNTESTED, CONTRADICTS, SAME, UNDECIDED) if word in verdicts]
        words[row["aspect"]] = unsure[0] if unsure else AGREES if verdicts else UNTESTED
    return words


def storage_states(data: Tables) -> list[pd.Series]:
    """Storage of the dense model and of the trained one, unstructured, then structured; empty without both methods."""
    found = stored(data)
    both = {method for method, _ in found} == set(queries.METHODS)
    return [found[method, state] for method in queries.METHODS for state in ("dense", "trained")] if both else []
