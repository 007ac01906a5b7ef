"""Sections, figures and words about students and teachers, from made-up tables with every kind of student."""

from __future__ import annotations

import base64
import dataclasses
import io

import numpy as np
import pandas as pd
import pytest

from deepcompress.report import page, strips, student_figures, students, tables
from deepcompress.report.blocks import Picture, Table
from deepcompress.report.sections import students as students_section
from deepcompress.report.sections import teachers as teachers_section
from deepcompress.report.tables import Tables
from tests.report import made_up

METHODS = ("crd", "dkd", "hint", "logit")
LEARNERS = {f"students/{m}-{t}": (850 + 5 * i + j, 4.0) for i, m in enumerate(METHODS)
            for j, t in enumerate(("vgg16", "vgg19"))}  # fmt: skip
LEARNERS |= {"students/logit-vgg16_jitter": (845, 4.0), "students/label_smoothing": (846, 4.0)}
MODELS = made_up.BASELINE | {"teachers/vgg16": (902, 0.61), "teachers/vgg19": (899, 0.52)}
MODELS |= {"teachers/vgg16_jitter": (895, 0.61), "students/independent": (846, 4.0), **LEARNERS}
SIDE = 8


def encoded(values: np.ndarray) -> str:
    return strips.PREFIX + base64.b64encode(values.astype(np.uint8).tobytes()).decode()


def paired() -> pd.DataFrame:
    rows = []
    for i, model in enumerate(LEARNERS):
        points = (LEARNERS[model][0] - 846) / 10
        reach = 0.1 if i < 4 else 3.0
        rows.append((model, students.INDEPENDENT, 1000, points, points - reach, points + reach, 0.01, 90.0))
    return pd.DataFrame(rows, columns=list(tables.PAIR_COLUMNS))


def explained() -> dict[str, pd.DataFrame]:
    """What the explain stage writes."""
    generator = np.random.default_rng(0)
    pairs = [(m, f"teachers/{m.rpartition('-')[2]}") for m in LEARNERS if "-" in m]
    pairs += [("students/independent", f"teachers/{t}") for t in ("vgg16", "vgg19", "vgg16_jitter")]
    alignment = pd.DataFrame(pairs, columns=["model", "teacher"]).assign(
        n=500, kl_nats=0.5, temperature=3.0, kl_softened_nats=0.2, agreement_pct=80.0, jittered_agreement_pct=60.0
    )
    alignment["kl_nats"] += np.arange(len(pairs)) / 100
    attention = pd.concat(
        alignment[["model", "teacher"]].assign(
            role=role, n=180, empty=20, window_px=7, ssim=0.4, ssim_low=0.3, ssim_high=0.5, ssim_other_image=0.1,
            ssim_independent=0.2, ssim_gain=0.2, ssim_gain_low=0.1, ssim_gain_high=0.3, cosine=0.7,
            rank_correlation=0.6, inside_pct=50.0, teacher_inside_pct=55.0, object_pct=20.0,
        )
        for role in ("block3", "block4")
    )  # fmt: skip
    everyone = [m for m in MODELS if m.startswith(("teachers/", "students/"))]
    colour = pd.DataFrame({"model": everyone}).assign(
        n=500, top1_pct=85.0, top1_pct_low=82.0, top1_pct_high=88.0, jittered_top1_pct=40.0,
        jittered_top1_pct_low=36.0, jittered_top1_pct_high=44.0, drop_points=45.0, drop_points_low=41.0,
        drop_points_high=49.0, consistency_pct=45.0,
    )  # fmt: skip
    images = [
        {"image": i, "class": "ant", "side": SIDE, "pixels": encoded(generator.integers(0, 256, (SIDE, SIDE, 3)))}
        for i in range(2)
    ]
    maps = [
        {"model": model, "teacher": "teachers/vgg16", "role": "block3", "image": i, "side": SIDE,
         "ssim": None if model.startswith("teachers") else 0.1 * (i + 1),
         "map": encoded(generator.integers(0, 256, (SIDE, SIDE)))}
        for model in ("teachers/vgg16", "students/independent", "students/logit-vgg16") for i in range(2)
    ]  # fmt: skip
    found = {"alignment": alignment, "attention": attention, "colour": colour}
    found |= {"strip_images": pd.DataFrame(images), "strips": pd.DataFrame(maps)}
    seeds = pd.DataFrame({"seed": [0, 1, 2], "validation_top1_pct": [80.0, 82.0, 84.0]})
    seeds = seeds.assign(mean_pct=82.0, deviation_points=2.0, n_seeds=3, n_images=500)
    return {f"explain/{name}": frame for name, frame in found.items()} | {"seeds/students/logit-vgg16": seeds}


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """Every kind of student; no pairs, no tables of the explain stage."""
    paths = made_up.write(tmp_path_factory.mktemp("students"), MODELS)
    data = tables.read(paths)
    return dataclasses.replace(data, pairs=data.pairs.head(0), extra={})


@pytest.fixture(scope="module")
def full(bare: Tables) -> Tables:
    return dataclasses.replace(bare, pairs=paired(), extra=explained())


def named(data: Tables, kind: type, build=students_section.build) -> list:
    section = build(data)
    assert section is not None
    return [block for block in section.blocks if isinstance(block, kind)]


def test_every_part_has_its_picture(full: Tables) -> None:
    assert [picture.name for picture in named(full, Picture)] == [
        "students_accuracy",
        "students_alignment_vgg16",
        "students_alignment_vgg16_jitter",
        "students_alignment_vgg19",
        "students_colour",
        "students_strip_vgg16",
    ]


def test_what_was_not_measured_is_left_out(bare: Tables) -> None:
    assert [picture.name for picture in named(bare, Picture)] == ["students_accuracy"]
    (summary, size) = named(bare, Table)
    assert "KL" not in summary.columns
    assert "Points to independent (95 %)" not in summary.columns
    assert size.folded
    assert students_section.build(bare).blocks[0].text == "No student was compared with the independent one."


@pytest.mark.parametrize("name", ["alignment", "attention", "colour", "strips", "strip_images"])
def test_each_table_may_be_missing_alone(full: Tables, name: str) -> None:
    extra = {key: frame for key, frame in full.extra.items() if key != f"explain/{name}"}
    section = students_section.build(dataclasses.replace(full, extra=extra))
    assert section is not None
    assert len(section.blocks) < len(students_section.build(full).blocks) or name in {"attention", "alignment"}


def test_method_and_teacher_come_from_the_id(full: Tables) -> None:
    rows = students.table(full).set_index("name")
    assert tuple(rows.loc["logit-vgg16_jitter", ["method", "teacher"]]) == ("logit", "vgg16_jitter")
    assert tuple(rows.loc["label_smoothing", ["method", "teacher"]]) == ("label_smoothing", "")
    assert list(rows.index[:2]) == ["independent", "label_smoothing"]


def test_the_verdict_counts_by_interval_and_names_the_best(full: Tables) -> None:
    said = students.verdict(full)
    assert said.startswith("4 of 9 students with a teacher come out above the independent one, 5 are not told apart")
    best = students.taught(full).sort_values(["difference_points", "model"]).iloc[-1]["name"]
    assert f"{best} is best: " in said


def test_one_student_is_spoken_of_as_one(full: Tables) -> None:
    few = {"baseline", "teachers/vgg16", students.INDEPENDENT}
    few |= {f"students/{method}-vgg16" for method in ("hint", "logit", "crd")}
    chosen = full.models["model"].isin(few)
    pairs = full.pairs.copy()
    for model, low, high in (("logit", -1.0, 1.0), ("crd", -3.0, -1.0), ("hint", 1.0, 3.0)):
        these = (pairs["model"] == f"students/{model}-vgg16") & (pairs["reference"] == students.INDEPENDENT)
        pairs.loc[these, ["difference_points_low", "difference_points_high"]] = [low, high]
    data = dataclasses.replace(full, models=full.models[chosen], pairs=pairs)
    assert students.verdict(data).startswith(
        "1 of 3 students with a teacher comes out above the independent one, 1 is not told apart from it, "
        "1 comes out below it; "
    )


def test_gains_are_those_over_the_independent_student_not_over_the_baseline(full: Tables) -> None:
    row = students.table(full).set_index("name").loc["crd-vgg16"]
    assert row["difference_points"] == pytest.approx(0.4)
    assert full.models.set_index("name").loc["crd-vgg16", "difference_points"] == pytest.approx(-2.3)


def test_the_summary_has_the_paper_s_numbers_beside_ours(full: Tables) -> None:
    gains, likeness = named(full, Table)[:2]
    assert "SSIM" not in gains.columns
    assert "p" not in likeness.columns
    rows = {
        row[0]: dict(zip(gains.columns, row, strict=True)) | dict(zip(likeness.columns, other, strict=True))
        for row, other in zip(gains.rows, likeness.rows, strict=True)
    }
    hint = rows["hint-vgg16"]
    assert (hint["Paper: top-1 %"], hint["Paper: KL"], hint["Paper: SSIM"]) == ("48.0", "0.483", "0.295")
    assert hint["SSIM over independent (95 %)"] == "+0.200 (+0.100 to +0.300)"
    assert rows["crd-vgg19"]["Paper: top-1 %"] == "47.6"
    assert rows["independent"]["Paper: top-1 %"] == "–"
    assert len(gains.rows) == 11


def test_colours_stand_beside_the_paper_s_students_of_its_jittered_teacher(full: Tables) -> None:
    table = next(block for block in named(full, Table) if block.folded == "Accuracy in other colours")
    rows = {row[0]: row for row in table.rows}
    assert rows["logit-vgg16_jitter"][1] == "36.5"
    assert rows["vgg16_jitter"][1] == "62.8"
    assert rows["logit-vgg16"][1] == "–"


def test_seeds_give_mean_deviation_and_n(full: Tables) -> None:
    table = next(block for block in named(full, Table) if block.columns[-1] == "Seeds")
    assert table.rows == (("students/logit-vgg16", "82.00", "2.00", "3"),)


def test_teacher_sizes_are_compared_method_by_method(full: Tables) -> None:
    (picture,) = [p for p in named(full, Picture, teachers_section.build) if p.name == "teacher_size"]
    title = " ".join(picture.figure.get_suptitle().split())
    assert title == "vgg19 in place of vgg16: +0.1 points on average over 4 methods"
    table = named(full, Table, teachers_section.build)[-1]
    rows = {row[0]: row for row in table.rows}
    assert rows["crd"][1:3] == ("38.9", "47.6")
    assert rows["dkd"][1:3] == ("41.1", "–")
    last = teachers_section.build(full).blocks[-1].text
    assert last.startswith("In 0 of 4 methods the intervals of the two students lie apart")


def test_one_teacher_has_no_size_to_compare(full: Tables) -> None:
    models = full.models[~full.models["model"].str.endswith("vgg19")]
    names = [p.name for p in named(dataclasses.replace(full, models=models), Picture, teachers_section.build)]
    assert names == ["teachers_differences"]


def test_cells_are_words_and_rows_are_whole(full: Tables) -> None:
    for build in (students_section.build, teachers_section.build):
        for table in named(full, Table, build):
            assert {len(row) for row in table.rows} == {len(table.columns)}
            assert all(isinstance(cell, str) and "nan" not in cell for row in table.rows for cell in row)


def test_equal_tables_give_equal_pictures(full: Tables) -> None:
    def drawn() -> list[bytes]:
        buffers = []
        for picture in [*named(full, Picture), *named(full, Picture, teachers_section.build)]:
            buffer = io.BytesIO()
            picture.figure.savefig(buffer, format="png", metadata={"Software": None})
            buffers.append(buffer.getvalue())
        return buffers

    assert drawn() == drawn()


def test_every_quantity_has_its_unit(full: Tables) -> None:
    for picture in named(full, Picture):
        if "strip" not in picture.name:
            assert any("[" in axes.get_xlabel() for axes in picture.figure.axes)


def test_a_strip_shows_each_model_under_each_image(full: Tables) -> None:
    (picture,) = [p for p in named(full, Picture) if p.name == "students_strip_vgg16"]
    (axes,) = picture.figure.axes
    assert len(axes.images) == (1 + 2 * 3) * 2
    assert [one.get_text() for one in axes.texts] == ["", "", *["SSIM 0.10", "SSIM 0.20"] * 2]
    assert [one.get_text() for one in axes.get_yticklabels()] == ["image", "vgg16", "independent", "logit-vgg16"]
    for name, at in zip(axes.get_yticklabels(), axes.get_yticks(), strict=True):  # each name beside its own row
        rows = [one.get_extent()[2:] for one in axes.images]
        assert sum(low < at < high for low, high in rows) == (2 if name.get_text() == "image" else 4)


def test_a_strip_of_empty_maps_says_so(full: Tables) -> None:
    maps = full.extra["explain/strips"].assign(ssim=np.nan, map=encoded(np.zeros((SIDE, SIDE))))
    (picture,) = strips.pictures(dataclasses.replace(full, extra=full.extra | {"explain/strips": maps}))
    assert picture.figure.get_suptitle() == "On these 2 images no model can be compared with vgg16"
    assert {one.get_text() for one in picture.figure.axes[0].texts} == {"empty map"}


def test_students_beside_the_baseline_change_nothing_here(full: Tables) -> None:
    """The explain stage compares them with the baseline as well, for the section on attention."""
    extra = dict(full.extra)
    for name in ("alignment", "attention", "strips"):
        rows = extra[f"explain/{name}"]
        extra[f"explain/{name}"] = pd.concat([rows, rows.assign(teacher="baseline")], ignore_index=True)
    wider = dataclasses.replace(full, extra=extra)
    assert [table.rows for table in named(wider, Table)] == [table.rows for table in named(full, Table)]
    assert [picture.name for picture in named(wider, Picture)] == [picture.name for picture in named(full, Picture)]


def test_a_strip_in_the_page_fetches_nothing(full: Tables) -> None:
    (picture,) = [p for p in named(full, Picture) if p.name == "students_strip_vgg16"]
    drawing = page.svg(picture.figure, "strip")
    assert "data:image/png;base64," in drawing
    assert "http" not in drawing.replace("http://www.w3.org", "")


def test_pixels_must_be_whole() -> None:
    with pytest.raises(ValueError, match="must start with 'uint8:'"):
        strips.pixels("abc", 1)
    with pytest.raises(ValueError, match="reshape"):
        strips.pixels(encoded(np.zeros(3)), 2, 2)


def test_the_paper_s_accuracy_is_drawn_on_its_own_data_alone(full: Tables) -> None:
    rows = full.of("students")
    with_paper = student_figures.accuracies(rows, {"students/crd-vgg16": 38.9}, "")
    words = [t.get_text() for t in with_paper.legends[0].get_texts()]
    assert words == ["students, 95 % interval", "paper"]
    ours = [t.get_text() for t in named(full, Picture)[0].figure.legends[0].get_texts()]
    assert ours == ["teachers, 95 % interval", "students, 95 % interval"]
