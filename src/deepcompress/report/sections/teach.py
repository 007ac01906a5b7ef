"""Does a teacher help: students beside controls that learn alone, how like their teacher they are, and its size."""

from __future__ import annotations

import math

import pandas as pd

from deepcompress.measure.verdict import GAIN, LOSS
from deepcompress.report import charts, queries, text
from deepcompress.report.sections import details
from deepcompress.report.tables import TEACHERS, Tables
from deepcompress.report.text import Block, Column, Paragraph, Picture, Section, Table, fold, interval_of, models_part

NO_CONTROL = "There is no independent student, so what a teacher brings is not known."
ACCURACY = "Students and teachers with 95 % intervals"
GAINS = f"Points and p compare with the independent student on the same held-out images. {text.NS}"
LIKENESS = (
    "KL is KL(teacher || student) at temperature 1 in nats, SSIM that of Grad-CAM maps, both on validation images. The "
    "source report states neither direction nor temperature of its KL, nor window nor null of its SSIM."
)
ALIGNMENT = (
    "Students of {teacher} and the controls, on {n} validation images; maps of {maps}, SSIM with a uniform window of "
    "{window} px and data range 1; short strokes: to the map of another image."
)
JITTER = "Validation images as they are and under colour jitter, the same for all models. Bars: 95 % intervals."
STRIP = (
    "Where {teacher} and its students see the right class ({role}), on the same validation images; below each map its "
    "SSIM to the teacher's."
)


def teach(data: Tables) -> Section | None:
    """None where there is neither a student nor a teacher; what was not measured is left out."""
    rows, teachers = queries.students(data), data.of(TEACHERS)
    if rows.empty and teachers.empty:
        return None
    blocks: list[Block] = [] if rows.empty else _gains(data, rows)
    blocks += [
        *fold("How like their teacher students are", "alignment", _likeness(data, rows)),
        *fold("Accuracy under colour jitter", "students_colour", _colour_jitter(data)),
        *fold("Where students look", "students_maps", _strips(data)),
        *fold("Teachers and their size", "teachers", [*models_part(data, teachers), *_teacher_sizes(data)]),
    ]
    return Section("Does a teacher help", tuple(blocks))


def _gains(data: Tables, rows: pd.DataFrame) -> list[Block]:
    shown, independent = pd.concat([data.of(TEACHERS), rows]), queries.independent(data)
    title, drawn, levels = "Students beside their teachers", f"{ACCURACY}.", {}
    if independent is not None:
        title += " and the independent student"
        drawn = f"{ACCURACY}; dashed: the independent student, which learned alone."
        levels = {"independent": float(shown.loc[shown["model"] == independent, "top1_pct"].iloc[0])}
    chart = charts.dots(shown, "top1_pct", charts.TOP1, levels=levels)
    columns: dict[str, Column] = {
        "Student": "name",
        "Source report: top-1 %": _stated(data.paper["top1_pct"]["students"]),
        "Top-1 % (95 %)": text.accuracy,
        "Points to independent (95 %)": ("difference", text.difference),
        "p": text.p_of("p"),
        "p (Holm)": text.p_of("holm_p"),
        "MiB": ("size_mib", text.mebibytes),
    }
    verdict = NO_CONTROL if independent is None else _verdict(rows)
    caption, seeds = "" if independent is None else GAINS, len(data.replicates.seeds)
    if caption and data.replicates:
        caption += f" Points are means of {seeds} seeds, top-1 is of one."
    beside = "" if independent is None else " beside the independent one"
    return [
        Paragraph(verdict, strong=True),
        Picture("students_accuracy", title, (chart,), drawn),
        Table.of(rows, columns, caption, folded=f"Every student{beside}"),
    ]


def _verdict(rows: pd.DataFrame) -> str:
    """How many students gained from their teacher, by their verdicts, and the best of them."""
    compared = rows[rows["teacher"] != ""].dropna(subset=["difference"])
    tested = [(row["difference"], row["name"]) for _, row in compared.iterrows() if row["difference"].tested]
    if compared.empty:
        return "No student was compared with the independent one."
    if not tested:
        return text.untested(compared["difference"], "students gain from their teacher")
    above, below = (sum(of.words == word for of, _ in tested) for word in (GAIN, LOSS))
    same = len(tested) - above - below
    most, best = max(tested, key=lambda found: (found[0].value, found[1]))
    come, show, fall = (f"{verb}{'s' * (n == 1)}" for verb, n in (("come", above), ("show", same), ("come", below)))
    counts = [f"{above} of {text.count(len(tested), 'student')} with a teacher {come} out above the independent one"]
    counts += [f"{same} {show} no significant difference from it"] if same else []
    counts += [f"{below} {fall} out below it"] if below else []
    highest = f"the best of them is {best}: {text.difference(most, phrase=True)} points"
    return f"{', '.join(counts)}; {highest} (95 % interval)."


def _likeness(data: Tables, rows: pd.DataFrame) -> list[Block]:
    """How like their teacher students answer and look: a table, and a picture per teacher."""
    teachers = dict.fromkeys([*data.of(TEACHERS)["model"], *rows["teacher"]])  # a student may learn from the baseline
    own = [found for teacher in teachers if teacher and not (found := queries.alignment(data, teacher)).empty]
    if not own:
        return []
    # Of a student with a teacher that one's row; of a control the first teacher's.
    alike = pd.concat(own).drop_duplicates("model").set_index("model").reindex(rows["model"])
    columns: dict[str, Column] = {
        "Student": lambda row: row["model"].partition("/")[2],
        "Source report: KL": _stated(data.paper["kl_to_teacher"], 3),
        "KL": ("kl_nats", 3),
        "Same answer, %": ("agreement_pct", 1),
        "Source report: SSIM": _stated(data.paper["cam_ssim"], 3),
    }
    if "ssim" in alike:
        columns["SSIM"] = ("ssim", 3)
        columns["SSIM over independent (95 %)"] = interval_of("ssim_gain", 3, text.signed)
    blocks: list[Block] = [Table.of(alike.reset_index(), columns, LIKENESS)]
    for _, teacher in data.of(TEACHERS).iterrows():  # a picture of each whose students' maps were compared with its own
        rows, name = queries.alignment(data, teacher["model"]), teacher["name"]
        if not rows.empty and "ssim" in rows:
            best = rows.sort_values(["kl_nats", "name"]).iloc[0]
            title = f"{name}: {best['name']} answers most like it in this run ({text.number(best['kl_nats'], 3)} nats)"
            n, window = f"{int(best['n']):,}", int(best["window_px"])
            caption = ALIGNMENT.format(teacher=name, n=n, maps=best["role"], window=window)
            independent = rows["ssim_independent"].iloc[0]
            levels = {} if pd.isna(independent) else {"independent": float(independent)}
            panels = (
                charts.dots(rows, "kl_nats", "KL(teacher || student) [nats]; lower is closer", low=0),
                charts.dots(rows, "ssim", "SSIM of Grad-CAM maps; higher is closer", levels=levels,
                            null="ssim_other_image"),
            )  # fmt: skip
            blocks.append(Picture(f"students_alignment_{name}", title, panels, caption, across=2))
    return blocks


def _stated(theirs: dict[str, float], digits: int = 1) -> Column:
    """What the source report states of a model, by id."""
    return lambda row: text.number(theirs.get(row["model"], math.nan), digits)


def _colour_jitter(data: Tables) -> list[Block]:
    """Accuracy under colour jitter, beside the source report's students of its jittered teacher and that teacher."""
    rows = queries.explained(data, "colour")
    if rows.empty or (rows := rows[rows["family"].isin(("students", TEACHERS))]).empty:
        return []
    students = rows[rows["family"] == "students"]  # none where teachers alone are trained
    best = (rows if students.empty else students).sort_values(["jittered_top1_pct", "model"]).iloc[-1]
    both = f"{text.number(best['jittered_top1_pct'])} % under it, {text.number(best['top1_pct'])} % before"
    of_whom = "" if students.empty else "Of the students "
    title = f"{of_whom}{best['name']} comes to most under jitter in this run: {both} ({text.sample(best['n'])})"
    columns: dict[str, Column] = {
        "Model": "name",
        "Source report: jittered %": _stated(data.paper["jittered_top1_pct"]),
        "Top-1 % (95 %)": text.accuracy,
        "Jittered % (95 %)": interval_of("jittered_top1_pct"),
        "Drop, points (95 %)": interval_of("drop_points", write=text.signed),
        "Same answer, %": ("consistency_pct", 1),
    }
    jittered = rows.assign(**{f"top1_pct{end}": rows[f"jittered_top1_pct{end}"] for end in text.ENDS})
    both_kinds = pd.concat([rows.assign(images="as they are"), jittered.assign(images="under colour jitter")])
    chart = charts.dots(both_kinds, "top1_pct", charts.VALIDATION, series="images")
    return [Picture("students_colour", title, (chart,), JITTER), Table.of(rows, columns)]


def _strips(data: Tables) -> list[Block]:
    """A strip of maps per teacher; none while the explain stage did not run."""
    if (maps := queries.strips(data)).empty:
        return []
    names = data.of(TEACHERS).set_index("model")["name"]
    taught = maps[maps["teacher"].isin(names.index)].groupby("teacher", sort=False)
    return [details.strip(data, rows, f"students_strip_{names[teacher]}", STRIP) for teacher, rows in taught]


def _teacher_sizes(data: Tables) -> list[Block]:
    """Students of the two teachers of other size that most methods were tried with, if there are two."""
    sizes = data.of(TEACHERS).set_index("model")["parameters"].drop_duplicates()
    rows = queries.students(data)
    rows = rows[rows["teacher"].isin(sizes.index)]
    tried = rows.groupby("method")["teacher"].transform("nunique")
    most = rows.loc[tried > 1, "teacher"].value_counts().head(2).index
    pair = sorted(most, key=lambda teacher: (sizes[teacher], teacher))
    rows = rows[rows["teacher"].isin(pair)].set_index("method", drop=False)
    wide = rows.pivot(index="method", columns="teacher", values="top1_pct").dropna()
    if len(pair) < 2 or wide.empty:
        return []
    small, large = (rows[rows["teacher"] == teacher].loc[wide.index] for teacher in pair)
    names = dict(zip(pair, data.models.set_index("model").loc[pair, "name"], strict=True))
    both = zip(wide.index, large["model"], small["model"], strict=True)
    found = {method: of for method, model, other in both if (of := data.differences.get((model, other)))}
    judged = [f"{method} {text.difference(of)}" for method, of in found.items()]
    change, runs = large["top1_pct"] - small["top1_pct"], "in this run"
    if len(judged) == len(wide) and data.replicates:
        change = pd.Series([of.value for of in found.values()])
        runs = f"and {len(data.replicates.seeds)} seeds"
    title = (
        f"{names[pair[1]]} in place of {names[pair[0]]}: {text.signed(change.mean())} points on average over "
        f"{text.count(len(wide), 'method')} {runs}"
    )
    listed = f"Student less student of one method, points (95 %): {', '.join(judged)}.{text.ns(judged)}"
    caption = listed if judged else ""
    drawn = pd.concat([small, large]).reset_index(drop=True)
    drawn = drawn.assign(name=drawn["method"], taught="taught by " + drawn["teacher"].map(names).astype(str))
    return [Picture("teacher_size", title, (charts.dots(drawn, "top1_pct", charts.TOP1, series="taught"),), caption)]


SECTIONS = {"students": (40, teach)}
