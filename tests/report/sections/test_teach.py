"""Sections, figures and words about students and teachers, from made-up tables with every kind of student."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from deepcompress.report import queries, tables
from deepcompress.report.sections import teach
from deepcompress.report.tables import Tables
from deepcompress.report.text import Picture, flat
from tests.report import made_up
from tests.report.sections.looking import column, folded, pictures_of, tables_of, text_of

METHODS = ("crd", "dkd", "hint", "logit")
LEARNERS = {f"students/{m}-{t}": (850 + 5 * i + j, 4.0) for i, m in enumerate(METHODS)
            for j, t in enumerate(("vgg16", "vgg19"))}  # fmt: skip
LEARNERS |= {"students/logit-vgg16_jitter": (845, 4.0), "students/label_smoothing": (846, 4.0)}
MODELS = made_up.BASELINE | {"teachers/vgg16": (902, 0.61), "teachers/vgg19": (899, 0.52)}
MODELS |= {"teachers/vgg16_jitter": (895, 0.61), "students/independent": (846, 4.0), **LEARNERS}
SIDE, INDEPENDENT = 8, "students/independent"


def paired() -> tables.Differences:
    found = {}
    for i, model in enumerate(LEARNERS):
        points, reach = (LEARNERS[model][0] - 846) / 10, 0.1 if i < 4 else 3.0
        found[model, INDEPENDENT] = made_up.apart(points - reach, points + reach)
    return found


def explained() -> dict[str, pd.DataFrame]:
    """What the explain stage writes."""
    generator = np.random.default_rng(0)
    pairs = [(m, f"teachers/{m.rpartition('-')[2]}") for m in LEARNERS if "-" in m]
    pairs += [("students/independent", f"teachers/{t}") for t in ("vgg16", "vgg19", "vgg16_jitter")]
    alignment = pd.DataFrame(pairs, columns=["model", "teacher"]).assign(
        n=500, kl_nats=0.5 + np.arange(len(pairs)) / 100, temperature=3.0, kl_softened_nats=0.2, agreement_pct=80.0,
        jittered_agreement_pct=60.0,
    )  # fmt: skip
    alike = made_up.SEEN | made_up.within("ssim", 0.4, 0.1, 0.1) | made_up.within("ssim_gain", 0.2, 0.1, 0.1)
    attention = [
        {"model": model, "teacher": teacher, "role": role, "ssim_independent": 0.2, **alike}
        for role in ("block3", "block4") for model, teacher in pairs
    ]  # fmt: skip
    colour = [{"model": model, **made_up.JITTERED} for model in MODELS if model != "baseline"]

    def pixels(*shape: int) -> str:
        return made_up.encoded(generator.integers(0, 256, (SIDE, SIDE, *shape)).astype(np.uint8).tobytes())

    images = [{"image": i, "class": "ant", "side": SIDE, "pixels": pixels(3)} for i in range(2)]
    maps = [
        {"model": model, "teacher": "teachers/vgg16", "role": "block3", "image": i, "side": SIDE,
         "ssim": None if model.startswith("teachers") else 0.1 * (i + 1), "map": pixels()}
        for model in ("teachers/vgg16", "students/independent", "students/logit-vgg16") for i in range(2)
    ]  # fmt: skip
    found = {"attention": attention, "colour": colour, "strip_images": images, "strips": maps}
    return {f"explain/{name}": pd.DataFrame(rows) for name, rows in {"alignment": alignment, **found}.items()}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Every kind of student; no pairs, no tables of the explain stage."""
    data = tables.read(made_up.write(tmp_path_factory.mktemp("students"), MODELS))
    return made_up.with_differences(dataclasses.replace(data, extra={}), {})


@pytest.fixture(scope="module")
def full(bare: Tables) -> Tables:
    return made_up.with_differences(dataclasses.replace(bare, extra=explained()), paired())


@pytest.mark.parametrize("name", ["alignment", "attention", "colour", "strips", "strip_images"])
def test_each_table_may_be_missing_alone(full: Tables, name: str) -> None:
    extra = {key: rows for key, rows in full.extra.items() if key != f"explain/{name}"}
    less, whole = (teach.teach(data) for data in (dataclasses.replace(full, extra=extra), full))
    assert less is not None
    assert whole is not None
    assert len(list(flat(less.blocks))) < len(list(flat(whole.blocks)))


def test_teachers_may_be_trained_for_nobody(full: Tables) -> None:
    models = full.models[full.models["family"] != "students"]
    colour = full.extra["explain/colour"]
    extra = {"explain/colour": colour[colour["model"].isin(models["model"])]}
    section = teach.teach(dataclasses.replace(full, models=models, extra=extra))
    assert section is not None
    assert section.keys == ["students_colour", "teachers"]


def strip(data: Tables) -> Picture:
    """The strip of the first teacher's students."""
    return pictures_of(folded(teach.teach(data), "students_maps"))[0]


def test_every_part_has_its_picture(full: Tables) -> None:
    assert [picture.name for picture in pictures_of(teach.teach(full))] == [
        "students_accuracy", "students_alignment_vgg16", "students_alignment_vgg16_jitter", "students_alignment_vgg19",
        "students_colour", "students_strip_vgg16", "teacher_size",
    ]  # fmt: skip


def test_what_was_not_measured_is_left_out(bare: Tables) -> None:
    section = teach.teach(bare)
    assert section is not None
    assert section.keys == ["teachers"]
    assert "Points to independent (95 %)" not in tables_of(section)[0].columns
    assert text_of(section)[0] == "No student was compared with the independent one."


def test_without_an_independent_student_the_page_does_not_draw_one(bare: Tables) -> None:
    students = bare.models["model"].str.startswith("students/")
    alone = dataclasses.replace(bare, models=bare.models.assign(control=bare.models["control"].mask(students)))
    section = teach.teach(alone)
    picture = pictures_of(section)[0]
    assert "independent" not in picture.title + picture.caption
    assert text_of(section)[0] == "There is no independent student, so what a teacher brings is not known."


def test_a_strip_shows_each_model_under_each_image(full: Tables) -> None:
    cells = strip(full).panels[0]["data"]["values"]
    assert len(cells) == (1 + 3) * 2
    assert column(strip(full), "name") == ["image", "vgg16", "independent", "logit-vgg16"]
    assert [cell["note"] for cell in cells] == ["", "", "", "", *["0.10", "0.20"] * 2]
    assert all(cell["url"].startswith("data:image/png;base64,") for cell in cells)


def test_controls_come_first_and_gains_are_those_over_the_independent_student(full: Tables) -> None:
    rows = queries.students(full).set_index("name")
    assert list(rows.index[:2]) == ["independent", "label_smoothing"]
    assert rows.loc["crd-vgg16", "difference"].value == pytest.approx(0.4)
    assert full.models.set_index("name").loc["crd-vgg16", "difference"].value == pytest.approx(-2.3)


def test_the_verdict_counts_gains_and_names_the_best(full: Tables) -> None:
    verdict = text_of(teach.teach(full))[0]
    assert verdict.startswith(
        "4 of 9 students with a teacher come out above the independent one, 5 show no significant difference from it"
    )
    assert "the best of them is logit-vgg19: +2.0 (" in verdict  # others may lie further away, below
    lost = "not significant after Holm's correction for 81 comparisons"
    pairs = {pair: dataclasses.replace(of, holm_p=0.1, note=lost) for pair, of in paired().items()}
    few = made_up.with_differences(full, pairs)
    assert text_of(teach.teach(few))[0].startswith("0 of 9 students with a teacher come out above")
    assert f"{lost}) points (95 % interval)." in text_of(teach.teach(few))[0]


def test_one_student_is_spoken_of_as_one(full: Tables) -> None:
    few = {"baseline", "teachers/vgg16", INDEPENDENT}
    few |= {f"students/{method}-vgg16" for method in ("hint", "logit", "crd")}
    pairs = {(f"students/{method}-vgg16", INDEPENDENT): made_up.apart(low, high)
             for method, low, high in (("logit", -1.0, 1.0), ("crd", -3.0, -1.0), ("hint", 1.0, 3.0))}  # fmt: skip
    models = full.models[full.models["model"].isin(few)]
    data = made_up.with_differences(dataclasses.replace(full, models=models), pairs)
    assert text_of(teach.teach(data))[0].startswith(
        "1 of 3 students with a teacher comes out above the independent one, 1 shows no significant difference from "
        "it, 1 comes out below it; "
    )


def test_the_summary_has_the_source_report_s_numbers_beside_ours(full: Tables) -> None:
    gains, likeness = tables_of(teach.teach(full))[:2]
    assert "SSIM" not in gains.columns
    assert "p" not in likeness.columns
    rows = {
        row[0]: dict(zip(gains.columns, row, strict=True)) | dict(zip(likeness.columns, other, strict=True))
        for row, other in zip(gains.rows, likeness.rows, strict=True)
    }
    theirs = [rows["hint-vgg16"][f"Source report: {name}"] for name in ("top-1 %", "KL", "SSIM")]
    assert theirs == ["48.0", "0.483", "0.295"]
    assert rows["hint-vgg16"]["SSIM over independent (95 %)"] == "+0.200 (+0.100 to +0.300)"
    assert rows["crd-vgg19"]["Source report: top-1 %"] == "47.6"
    assert rows["independent"]["Source report: top-1 %"] == "–"
    assert len(gains.rows) == 11


def test_a_student_of_the_baseline_has_its_likeness_to_it(full: Tables) -> None:
    models = full.models.copy()
    models.loc[models["model"] == "students/dkd-vgg16", "teacher"] = "baseline"
    moved = {}
    for name in ("explain/alignment", "explain/attention"):
        rows = full.extra[name]
        moved[name] = rows.assign(teacher=rows["teacher"].mask(rows["model"] == "students/dkd-vgg16", "baseline"))
    likeness = tables_of(teach.teach(made_up.with_tables(dataclasses.replace(full, models=models), moved)))[1]
    (cells,) = [row for row in likeness.rows if row[0] == "dkd-vgg16"]
    assert cells[likeness.columns.index("Same answer, %")] == "80.0"


def test_jitter_stands_beside_the_source_report_s_students_of_its_jittered_teacher(full: Tables) -> None:
    section = teach.teach(full)
    (table,) = tables_of(folded(section, "students_colour"))
    rows = {row[0]: row[1] for row in table.rows}
    assert [rows[name] for name in ("logit-vgg16_jitter", "vgg16_jitter", "logit-vgg16")] == ["36.5", "62.8", "–"]
    (picture,) = pictures_of(folded(teach.teach(full), "students_colour"))
    assert picture.title.startswith("Of the students ")  # a jittered teacher may come to more


def test_teacher_sizes_are_compared_method_by_method(full: Tables) -> None:
    own = {("students/crd-vgg19", "students/crd-vgg16"): made_up.apart(-0.25, 1.25)}
    compared = made_up.with_differences(full, own, pairs=True)
    section = folded(teach.teach(compared), "teachers")
    (picture,) = [picture for picture in pictures_of(section) if picture.name == "teacher_size"]
    assert picture.title == "vgg19 in place of vgg16: +0.1 points on average over 4 methods in this run"
    assert picture.caption == "Student less student of one method, points (95 %): crd +0.5 (−0.2 to +1.2)."


def test_students_beside_the_baseline_change_nothing_here(full: Tables) -> None:
    """The explain stage compares them with the baseline as well, for the section on attention."""
    own = {name: full.extra[f"explain/{name}"] for name in ("alignment", "attention", "strips")}
    wider = {f"explain/{name}": pd.concat([rows, rows.assign(teacher="baseline")]) for name, rows in own.items()}
    section, same = (teach.teach(data) for data in (full, made_up.with_tables(full, wider)))
    assert tables_of(section) == tables_of(same)
    assert [picture.name for picture in pictures_of(section)] == [picture.name for picture in pictures_of(same)]
