"""The source report's claims, figures and tables: verdicts follow intervals, and what was not measured has none."""

import dataclasses
import math
import re
from collections.abc import Callable

import pandas as pd
import pytest

from deepcompress.measure.statistics import wilson_interval
from deepcompress.measure.verdict import NONE, Estimate, Replicates
from deepcompress.report import claims, estimates, page, queries
from deepcompress.report.estimates import AGREES, CONTRADICTS, IN_PART, INCOMPARABLE, SAME, UNDECIDED, UNTESTED
from deepcompress.report.sections import source
from deepcompress.report.tables import Tables
from deepcompress.report.text import Fold, Paragraph, Table
from tests.report import made_up
from tests.report.made_up import on_cifar100, with_tables
from tests.report.sections.looking import folded, tables_of

combined, content = estimates.combined, estimates.content
FIGURES, TABLES = 14, 2
STRUCTURED, UNSTRUCTURED = "pruned/structured-0.25", "pruned/unstructured-0.25"
QAT = ("quantized/qat-int4", "quantized/ptq-int4")
THREE = [(0.5, 2.0, AGREES), (-3.0, -1.0, CONTRADICTS), (-1.0, 1.0, SAME)]


def with_models(data: Tables, *names: str, **columns: object) -> Tables:
    models = data.models.copy()
    models.loc[models["model"].isin(names), list(columns)] = list(columns.values())
    return dataclasses.replace(data, models=models)


def with_pairs(data: Tables, *rows: tuple[str, str, float, float]) -> Tables:
    """With these differences, by the ends of their intervals, and with those to the baseline alone."""
    return made_up.with_differences(data, {(one, other): made_up.apart(*ends) for one, other, *ends in rows})


def of_one_training(data: Tables, *names: str) -> Tables:
    """Tables that say of some models that they were not trained."""
    return with_models(data, *names, training_tera_macs=0.0)


# The rows as data.


def test_every_row_of_the_file_names_a_rule_a_measure_and_models_that_are_there() -> None:
    file = content()
    used: set[str] = {technique["model"] for technique in file["techniques"].values()}
    for row in (*file["claims"].values(), *file["figures"].values()):
        assert row["rule"] in claims.RULES
        for more in (row, *row.get("also", ())):
            assert more.get("measure", estimates.TOP1) in file["measures"]
            sides = [name for side in more.get("sides", ()) for name in (side if isinstance(side, list) else [side])]
            used |= {side for side in sides if isinstance(side, str)} | set(more.get("factors", ()))
    assert used == set(file["models"])
    assert len({row["statement"] for row in file["claims"].values()}) == len(file["claims"])


def test_claims_stand_in_the_order_of_the_source_report(data: Tables) -> None:
    found = claims.compared(data, "claims")
    places = [[int(part) for part in content()["claims"][name]["section"].split(".")] for name in found]
    assert places == sorted(places)
    assert len(found) >= 40
    assert all(one.evidence for one in found.values() if one.verdict != UNTESTED)


def test_every_figure_and_table_is_there_in_its_order(data: Tables) -> None:
    numbers = [re.sub(r" \(.*\)", "", name) for name in claims.compared(data, "figures")]
    wanted = [f"Figure {i + 1}" for i in range(FIGURES)] + [f"Table {i + 1}" for i in range(TABLES)]
    assert list(dict.fromkeys(numbers)) == wanted


def test_its_numbers_in_words_are_those_in_its_table_of_numbers(data: Tables) -> None:
    stated = content()["figures"]["Figure 7"]["statement"]
    assert f"unstructured {data.paper['top1_pct']['pruned'][UNSTRUCTURED]:.2f} %" in stated
    kl = ", ".join(f"{kl:.3f} ({re.split('[/-]', name)[1]})" for name, kl in data.paper["kl_to_teacher"].items())
    assert kl in " ".join(content()["figures"]["Figure 12 (middle)"]["statement"].split())


def test_what_was_not_measured_has_no_verdict(alone: Tables) -> None:
    assert {one.verdict for kind in ("claims", "figures") for one in claims.compared(alone, kind).values()} == {
        UNTESTED
    }


# Intervals.


def test_a_difference_of_independent_estimates_has_newcombe_s_interval() -> None:
    """Table II of his paper, 56 of 70 against 48 of 80, method 10 (score, no continuity correction)."""
    sides = []
    for right, n in ((56, 70), (48, 80)):
        low, high = wilson_interval(right, n)
        sides.append(Estimate(right / n, low, high, n=n))
    found = combined(sides, (1, -1))
    assert (found.value, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_a_claim_follows_the_paired_interval_in_either_direction(data: Tables) -> None:
    for low, high, verdict in THREE:
        for pair in ((*QAT, low, high), (*QAT[::-1], -high, -low)):
            found = claims.claim(with_pairs(data, pair), "qat above ptq")
            assert found.verdict == verdict
            assert found.evidence.startswith("quantized/qat-int4: 86.2")
            assert "(n = 1,000)" in found.evidence
            assert (found.p, found.holm_p) == ((0.5, 0.5) if verdict == SAME else (0.01, 0.01))


def test_a_claim_that_holm_does_not_confirm_says_so_and_of_how_many(data: Tables) -> None:
    lost = "not significant after Holm's correction for 29 comparisons"
    of = dataclasses.replace(made_up.apart(0.5, 2.0), holm_p=0.29, note=lost)
    found = claims.claim(made_up.with_differences(data, {QAT: of}), "qat above ptq")
    assert (found.judgement, found.p, found.holm_p) == (f"{SAME} ({lost})", 0.01, 0.29)


def test_models_that_were_trained_apart_are_not_tested_without_replicates(single: Tables) -> None:
    for name in ("granularity", "best student", "robustness", "quarter", "comparable teachers", "best combination"):
        found = claims.claim(single, name)
        assert found.judgement == f"{UNTESTED} (one training each)", name
        assert found.evidence, name
        assert math.isnan(found.p), name
    assert "24.0× smaller" in claims.claim(single, "best combination").evidence
    assert claims.claim(single, "eight bits").verdict == UNDECIDED
    tested = [name for name, one in claims.compared(single, "claims").items() if not math.isnan(one.p)]
    assert tested == ["convolutions", "first layers", "sixteen bits", "eight bits", "four bits"]


def test_p_of_a_claim_is_corrected_in_the_family_of_its_pair_or_that_of_claims_alone(data: Tables) -> None:
    of_pair = claims.claim(data, "four bits")
    assert of_pair.holm_p == data.differences["quantized/ptq-int4", "baseline"].holm_p
    alone = [claims.claim(data, name) for name in ("convolutions", "first layers", "sharp drop", "qat at few bits")]
    tested = [one for one in alone if not math.isnan(one.p)]
    smallest = min(tested, key=lambda one: one.p)
    assert len(tested) > 1
    assert smallest.holm_p == pytest.approx(len(tested) * smallest.p)


def test_p_of_independent_estimates_says_what_their_interval_says() -> None:
    near, far = (combined((Estimate(at, at - 1, at + 1), Estimate(0, -1, 1)), (1, -1)) for at in (1.4, 1.43))
    assert near.low < 0 < far.low
    assert (estimates.outcome(near), estimates.outcome(far)) == (SAME, AGREES)
    assert far.p < 0.05 < near.p
    few = dataclasses.replace(far, value=9.0, low=8.0, high=10.0, freedom=2.0)
    assert combined((few,), (1,)).p == pytest.approx(2 * (1 - 0.99967), rel=0.02)  # t = 9 * 4.303, two degrees


# Rules.


Change = Callable[[Tables], Tables]


def drop(ends: dict[str, tuple[float, float]]) -> Change:
    """Each model's difference to the baseline, by the ends of its interval."""
    return lambda data: with_pairs(data, *((model, "baseline", low, high) for model, (low, high) in ends.items()))


def timed(model: str, low: float, high: float, engine: str = "onnxruntime") -> Change:
    """A pruned model timed with these quartiles, where the dense one takes 9.9 to 10.1 ms."""
    times = {"latency_ms_p25": low, "latency_ms_p50": (low + high) / 2, "latency_ms_p75": high}

    def changed(data: Tables) -> Tables:
        rows, (_, method, sparsity) = data.extra["benchmark/latency"], re.split("[/-]", model)
        own = rows[rows["model"] == "baseline"].head(1).assign(model=model, engine=engine, **times)
        own = own.assign(speedup=20 / (low + high))
        planned = data.models.tail(1).assign(model=model, family="pruned", method=method, sparsity=float(sparsity))
        models = pd.concat([data.models[data.models["model"] != model], planned])
        rows = pd.concat([rows[rows["model"] != model], own])
        return with_tables(dataclasses.replace(data, models=models), {"benchmark/latency": rows})

    return changed


def lost(table: str, drop: float, change: str = "") -> Change:
    """What a change of the images takes from a pruned model that was not trained."""

    def changed(data: Tables) -> Tables:
        rows = data.extra[f"explain/{table}"].copy()
        own = (rows["model"] == STRUCTURED) & (not change or rows["change"] == change)
        rows.loc[own, ["drop_points", "drop_points_low", "drop_points_high"]] = (drop, drop - 4, drop + 4)
        return with_tables(of_one_training(data, STRUCTURED), {f"explain/{table}": rows})

    return changed


def pair(first: str, second: str, low: float, high: float) -> Change:
    return lambda data: with_pairs(data, (first, second, low, high))


CASES: list[tuple[str, Change, str]] = [
    # Accuracy is kept where the whole interval lies within the limit, and similar where it does on both sides.
    *(("eight bits", drop({"quantized/ptq-int8": ends}), verdict) for *ends, verdict in (
        (-0.6, 0.2, AGREES), (-1.0, 0.2, UNDECIDED), (-1.1, -0.9, UNDECIDED), (-3.0, -1.9, CONTRADICTS))),
    *(("comparable teachers", pair("teachers/vgg16", "teachers/vgg19", *ends), verdict) for *ends, verdict in (
        (-0.4, 0.4, AGREES), (-0.9, 0.9, UNDECIDED), (0.5, 1.5, UNDECIDED), (1.2, 2.0, CONTRADICTS))),
    # Hints compete with the best of the source report's methods.
    *(("best student", pair("students/hint-vgg16", "students/dkd-vgg16", *ends), verdict) for *ends, verdict in THREE),
    # Students lie below the network alone where the best of them does.
    *(("alone", pair("students/independent", "students/dkd-vgg16", *ends), verdict) for *ends, verdict in THREE),
    # The best combination is the smallest that keeps the accuracy.
    *(("best combination", drop({"combined/prune_quantize": (own - 0.4, own + 0.4),
                                 "combined/prune_distill_quantize": (other - 0.4, other + 0.4)}), verdict)
      for own, other, verdict in ((-0.5, -5.0, AGREES), (-5.0, -5.0, CONTRADICTS), (-0.5, -0.2, CONTRADICTS),
                                  (-1.0, -5.0, UNDECIDED))),
    # Bytes are those of the file; times are told apart by quartiles.
    *(("storage", lambda data, times=times: with_models(data, UNSTRUCTURED, times_smaller=times), verdict)
      for times, verdict in ((1.28, CONTRADICTS), (1.34, AGREES))),
    *(("channels", timed("pruned/structured-0.5", *ends), verdict)
      for *ends, verdict in ((4.9, 5.1, AGREES), (9.0, 11.0, UNDECIDED), (12.0, 13.0, CONTRADICTS))),
    *(("zeros", timed("pruned/unstructured-0.75", *ends), verdict)
      for *ends, verdict in ((4.9, 5.1, CONTRADICTS), (9.0, 11.0, AGREES), (12.0, 13.0, AGREES))),
    *(("Figure 8 (time)", timed(STRUCTURED, *ends, engine="pytorch"), verdict)
      for *ends, verdict in ((4.9, 5.1, AGREES), (9.9, 10.1, UNDECIDED), (19.9, 20.1, CONTRADICTS))),
    # A model is less robust where a change of the images takes more from it.
    *((claim, lost(table, more + usual, change), verdict)
      for claim, table, change, usual in (("robustness", "colour", "", 45.0), ("noise", "robustness", "noise", 16.0),
                                          ("adversarial", "robustness", "fgsm", 16.0))
      for more, verdict in ((44.0, AGREES), (0.0, SAME), (-13.0, CONTRADICTS))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changed", "verdict"), CASES)
def test_a_verdict_follows_what_was_measured(data: Tables, name: str, changed: Change, verdict: str) -> None:
    found = claims.claim(changed(data), name)
    assert found.verdict == verdict
    assert found.evidence


def test_the_best_student_is_the_best_of_all_seeds(data: Tables) -> None:
    """dkd is the best in this run."""
    ends = {("students/hint-vgg16", "students/crd-vgg16"): (-3.0, -1.0), ("students/crd-vgg16", "baseline"): (0.0, 2.0)}
    found = claims.claim(with_pairs(data, *((*names, *of) for names, of in ends.items())), "best student")
    assert found.verdict == CONTRADICTS
    assert "students/crd-vgg16: 85.8 (" in found.evidence


@pytest.mark.parametrize(("missing", "kept"), [("ptq-int4", "ptq-int8"), ("ptq-int8", "ptq-int4")])
def test_files_at_several_bit_widths_are_judged_where_all_were_measured(data: Tables, missing: str, kept: str) -> None:
    some = dataclasses.replace(data, models=data.models[data.models["model"] != f"quantized/{missing}"])
    found = claims.claim(some, "fewer bits")
    assert found.judgement == f"{UNTESTED} (not measured: {missing})"
    assert found.evidence.startswith(f"quantized/{kept}: ")
    assert claims.claim(data, "fewer bits").verdict == AGREES


def test_int8_is_timed_in_its_own_engine_against_the_dense_float_model(data: Tables) -> None:
    rows = data.extra["benchmark/latency"]
    int8 = rows[(rows["model"] == "baseline") & (rows["engine"] == "onnxruntime_int8")]
    timed = with_tables(data, {"benchmark/latency": pd.concat([rows, int8.assign(model="quantized/ptq-int8")])})
    found = claims.claim(timed, "integer speed")
    assert (found.verdict, "2.5× at batch 1" in found.evidence) == (AGREES, True)
    assert claims.claim(data, "integer speed").verdict == UNTESTED


def test_layers_are_compared_by_kind_and_by_place(data: Tables) -> None:
    early, late = 87 - 40 * 0.9 * (1 + 2) / 2 / 4, 87 - 40 * 0.9 * (3 + 4) / 2 / 4  # as made_up writes them
    kinds = claims.claim(data, "convolutions")
    assert kinds.verdict == AGREES
    assert f"convolutions: {early:.1f} (" in kinds.evidence
    assert f"fully connected layers: {late:.1f} (" in kinds.evidence
    first = claims.claim(data, "first layers")
    assert first.evidence.startswith("features.4: 77.0 (74.1 to 79.9) %; features.0: 82.0 (79.1 to 84.9) %")
    assert first.judgement.startswith(f"{SAME} (not significant after Holm's correction for ")


@pytest.mark.parametrize(("by", "verdict"), [(1.0, AGREES), (0.0, SAME), (-1.0, CONTRADICTS)])
def test_a_weighted_sum_is_judged_over_seeds_with_the_error_of_the_images(
    data: Tables, by: float, verdict: str
) -> None:
    factors = {"a": 1.0, "b": -1.0}
    parts = [Estimate(80.0, 79.9, 80.1, n=1000, name=name) for name in factors]
    top1 = {"a": [80.0 + by, 80.1 + by, 79.9 + by], "b": [80.0, 80.0, 80.0]}
    rows = [{"seed": i, "model": name, "reference": "baseline", "top1_pct": at} for name, seen in top1.items()
            for i, at in enumerate(seen)]  # fmt: skip
    repeated = dataclasses.replace(data, replicates=Replicates(rows))
    found = estimates.contrast(repeated, parts, list(factors.values()))
    assert (estimates.outcome(found), found.value) == (verdict, pytest.approx(by))
    over_trainings_alone = 4.3027 * 0.1 / 3**0.5
    assert found.high - found.value > 0.7 * over_trainings_alone
    assert math.isnan(estimates.contrast(dataclasses.replace(data, replicates=NONE), parts, [1, -1]).p)


def test_a_sharp_drop_is_a_weighted_sum_of_three_sparsities(data: Tables) -> None:
    rows = data.models.set_index("model").loc[["pruned/unstructured-0.0"] * 3].reset_index()
    rows = rows.assign(sparsity=[0.0, 0.5, 0.75], model=["a", "b", "c"], top1_pct=[87.0, 85.0, 60.0])
    others = data.models[data.models["family"] != "pruned"]
    found = claims.claim(dataclasses.replace(data, models=pd.concat([others, rows])), "sharp drop")
    assert found.judgement == f"{UNTESTED} (one training each)"
    assert "lost beyond a half less up to there +9.60 points" in found.evidence  # 25 in 2.5 tenths, 2 in 5


def test_equal_answers_to_the_teacher_are_compared_by_their_intervals(data: Tables) -> None:
    answers = {"hint-vgg16": 91.4, "logit-vgg16": 70.0, "dkd-vgg16": 60.0, "independent": 99.0}
    rows = pd.DataFrame({"model": [f"students/{name}" for name in answers], "teacher": "teachers/vgg16", "n": 500,
                         "agreement_pct": list(answers.values())})  # fmt: skip

    untrained = of_one_training(data, *(f"students/{name}" for name in answers))

    def judged(some: pd.DataFrame) -> claims.Comparison:
        return claims.claim(with_tables(untrained, {"explain/alignment": some}), "alignment")

    found = judged(rows)
    assert found.verdict == AGREES
    assert found.evidence.startswith("students/hint-vgg16: 91.4 (88.6 to 93.6) % answers equal; students/logit-vgg16")
    assert judged(rows.replace(70.0, 91.0)).verdict == SAME
    assert judged(rows.replace(70.0, 98.0)).verdict == CONTRADICTS
    assert judged(rows.assign(teacher="teachers/vgg19")).verdict == UNTESTED


# Figures and tables.


def test_the_index_leads_to_the_part_with_our_figure(data: Tables) -> None:
    sections = page.sections(data)
    anchors = {*sections, *(key for section in sections.values() for key in section.keys)}
    measured = [name for name, one in claims.compared(data, "figures").items() if one.verdict != UNTESTED]
    assert {content()["figures"][name]["page"] for name in measured} <= anchors
    assert '<a href="#sensitivity">Figure 5</a>' in page.render(sections, data)
    assert ">Figure 5</th>" in page.render({"claims": sections["claims"]}, data)


def test_figures_1_to_3_follow_the_histograms(data: Tables) -> None:
    bins = [(-3, -1, 1), (-1, 1, 2), (1, 3, 1)]
    rows = [("dense", *one) for one in bins] + [("masked", -3, -1, 0), ("masked", -1, 1, 2), ("masked", 1, 3, 0)]
    table = pd.DataFrame(rows, columns=["state", "low", "high", "count"]).assign(layer="features.0")
    name = "weights/pruned/unstructured-0.25"
    gathered = with_tables(data, {name: table})
    assert claims.claim(gathered, "Figure 1").verdict == AGREES
    assert "0.00 standard deviations from zero (features.0)" in claims.claim(gathered, "Figure 1").evidence
    two = claims.claim(gathered, "Figure 2")
    assert (two.verdict, "100.0 % of the weights" in two.evidence) == (AGREES, True)
    moved = table.assign(low=table["low"] + 4, high=table["high"] + 4)
    assert claims.claim(with_tables(data, {name: moved}), "Figure 1").verdict == CONTRADICTS
    assert claims.claim(data, "Figure 3").judgement == f"{CONTRADICTS} (only the zeros concentrate)"


def test_points_are_compared_on_cifar100_with_the_errors_of_both(data: Tables) -> None:
    theirs = estimates.source_top1(data, "pruned")
    assert set(theirs) == {"baseline", UNSTRUCTURED, STRUCTURED}
    here = on_cifar100(data)
    assert claims.claim(here, "Figure 7").verdict == CONTRADICTS
    points = theirs[STRUCTURED] - theirs["baseline"]
    found = claims.claim(with_pairs(here, (STRUCTURED, "baseline", points + 0.5, points + 2.5)), "Figure 7")
    assert found.verdict == IN_PART
    assert "of 2 models, in points to each one's own baseline: agrees in 1, contradicts in 1" in found.note


def test_an_interval_of_no_width_does_not_contradict_a_value_within_the_source_report_s_error(data: Tables) -> None:
    here = with_pairs(on_cifar100(data), ("quantized/ptq-bf16", "baseline", 0.0, 0.0))
    table = source.side_by_side(here, "quantized")
    assert table is not None
    (row,) = [cells for cells in table.rows if cells[0] == "ptq-bf16"]
    assert row[:4] == ("ptq-bf16", "+0.1 (−1.2 to +1.5)", "0.0 (0.0 to 0.0)", AGREES)


def test_on_other_data_points_are_not_comparable_and_the_order_is(data: Tables) -> None:
    table = source.side_by_side(data, "pruned")
    assert table is not None
    assert {row[3] for row in table.rows} == {INCOMPARABLE}
    found = claims.claim(data, "Figure 7")
    assert found.verdict == SAME
    assert found.note == (
        "of 3 pairs of models that its n = 10,000 tells apart: no significant difference in 3; points: "
        "not comparable data"
    )
    worse = made_up.apart(-21.0, -19.0)
    both = {(model, "baseline"): worse for model in (STRUCTURED, UNSTRUCTURED)}
    found = claims.claim(made_up.with_differences(data, both, pairs=True), "Figure 7")
    assert (found.verdict, "agrees in 2" in found.note) == (IN_PART, True)


def test_figure_8_compares_shares_of_zeros_only_where_they_are_shares_of_the_same(data: Tables) -> None:
    found = claims.claim(data, "Figure 8 (storage)")
    assert found.evidence.startswith("25.0 % zeros (unstructured), 25.0 % zeros (structured)")
    assert found.verdict == IN_PART
    assert found.note.startswith("agrees: unstructured; not comparable data: structured, because convolutions")


def test_figure_9_judges_its_aspects_by_claims_and_counts(data: Tables) -> None:
    found, table = claims.claim(data, "Figure 9"), source.aspect_table(data)
    assert table is not None
    assert [row[0] for row in table.rows][-2:] == ["Accuracy", "Storage"]
    assert table.rows[-2][2] == "keeps 99.2 % fine-tuned, 39.1 % before fine-tuning"
    assert found.verdict == CONTRADICTS
    assert "not tested: Hardware, Memory access, Parallelism, Implementation" in found.note


def test_tables_1_and_2_are_judged_by_the_order_of_the_layers(data: Tables) -> None:
    theirs = data.paper["pruned"]["structured"]["assigned"]
    rows = pd.DataFrame({"layer": [f"features.{4 * i}" for i in range(8)], "achieved_sparsity": list(theirs.values())})
    rows = pd.concat([rows, pd.DataFrame({"layer": [queries.OVERALL], "achieved_sparsity": [0.25]})])
    name = "allocation/pruned/structured-0.25"
    assert claims.claim(with_tables(data, {name: rows}), "Table 2").verdict == AGREES
    turned = rows.assign(achieved_sparsity=1 - rows["achieved_sparsity"])
    found = claims.claim(with_tables(data, {name: turned}), "Table 2")
    assert found.judgement == f"{CONTRADICTS} (of 28 pairs of layers that it tells apart: {CONTRADICTS} in 28)"
    assert claims.claim(data, "Table 1").verdict == INCOMPARABLE


def test_orders_of_students_are_seen_where_the_pairs_tell(data: Tables) -> None:
    hint, others = "students/hint-vgg16", [f"students/{method}-vgg16" for method in ("crd", "dkd", "logit")]
    found = claims.claim(with_pairs(data, *((hint, other, 1.0, 2.0) for other in others)), "Figure 12 (left)")
    assert found.verdict == AGREES
    assert "of 5 pairs of models that its n = 10,000 tells apart: agrees in 3, not tested in 2" in found.note
    worse = with_pairs(data, *((hint, other, -2.0, -1.0) for other in others))
    assert claims.claim(worse, "Figure 12 (left)").verdict == CONTRADICTS


def test_the_source_report_s_own_setting_has_no_note(data: Tables) -> None:
    model = {"model": {"image_size": 224, "weights": "imagenet"}}
    assert estimates.setting_note(dataclasses.replace(on_cifar100(data), params=model)) == ""
    assert estimates.setting_note(data) == (
        " (settings differ: data (shapes, not CIFAR-100), image size (32 px, not 224), no ImageNet pre-training)"
    )


def test_the_section_counts_verdicts_and_shows_techniques_that_are_there(data: Tables) -> None:
    built = source.source(data)
    assert built is not None
    lead, claimed, figures = built.blocks[:3]
    assert isinstance(lead, Paragraph)
    assert isinstance(figures, Fold)
    for words, table in ((lead.text, claimed), (figures.title, figures.blocks[0])):
        assert isinstance(table, Table)
        counts = [int(number) for number in re.findall(r"(\d+) (?:claims|figures|agree|contra|ha|are|is|w)", words)]
        assert counts[0] == sum(counts[1:]) == len(table.rows)
        assert not re.search(r"\b1 (?:agree|contradict|have|are|were)\b", words)
    (techniques,) = tables_of(folded(built, "techniques"))
    cells = {row[0]: dict(zip(techniques.columns, row, strict=True)) for row in techniques.rows}
    assert "Pruning and distillation" not in cells  # made_up has no such model
    rounded = cells["Rounding to 4 bits"]
    assert rounded["Points (95 %)"] == "−7.5 (−8.6 to −6.4)"
    assert (rounded["Smaller"], rounded["Cost"]) == ("7.6×", "1.0×")
