"""What a study adds to the report: its figure and table, or what a search has tried."""

import math
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from itertools import accumulate
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bioplausible.commands.report.curves import MARKS, in_parts, png
from bioplausible.commands.report.looks import look
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.sections import OF_RUNS, Picture, Question, Section, drawn_by_a_run
from bioplausible.commands.report.significance import Estimate, number, of_seeds
from bioplausible.commands.sweep.recipe_text import option_text
from bioplausible.commands.sweep.running import outcome
from bioplausible.commands.sweep.search import Candidate
from bioplausible.commands.sweep.study import SearchStudy, Study
from bioplausible.commands.sweep.trials import TEST
from bioplausible.commands.sweep.variants import Variant
from bioplausible.observers.figures import as_pdf, new_figure


def study_section(study: Study, variants: Sequence[Variant]) -> Section:
    """Returns a study's table, a row a variant, and its figure.

    Means and standard deviations (n − 1) are over the finished seeds; accuracies are in percent.

    Args:
        study: the study.
        variants: what it compares.
    """
    runs = [[run for run in (read_run(Path(t.folder)) for t in v.trials) if run.finished] for v in variants]
    logged = {name: None for of_variant in runs for run in of_variant for name in sorted(run.curves)}
    matching = {y: [name for name in logged if fnmatchcase(name, y)] for y in study.figure.y}
    names = list(dict.fromkeys(name for found in matching.values() for name in found))
    # what no run has logged has an empty column
    columns = dict.fromkeys([TEST, *(name for y, found in matching.items() for name in found or [y])])
    rows = [
        {
            "variant": variant.name,
            "n": len(found),
            **{_label(name): of_seeds(_estimate(found, name), len(found)) for name in columns},
        }
        for variant, found in zip(variants, runs, strict=True)
    ]
    numbers: list[dict[str, Any]] = []
    for variant, found in zip(variants, runs, strict=True):
        row: dict[str, Any] = {"variant": variant.name}
        for name in columns:
            known = _estimate(found, name)
            row |= {f"{name}_mean": "", f"{name}_std": "", f"{name}_n": 0}
            if known is not None:
                row |= {f"{name}_mean": number(known.mean), f"{name}_std": number(known.std), f"{name}_n": known.n}
        numbers.append(row)
    pictures = []
    if names:
        figure, axes = new_figure(len(names), columns=2, width=9 if len(names) == 1 else 6)
        figure.suptitle(study.title)
        draw = _draw_curves if study.figure.x == "epoch" else _draw_points
        for axis, name in zip(axes, names, strict=True):
            draw(axis, study.figure.x, name, variants, runs)
            axis.set_ylabel(_label(name))
        lines = {line.get_label(): line for axis in axes for line in axis.get_legend_handles_labels()[0]}
        if len(lines) > 1:
            labels = [str(label) for label in lines]
            figure.set_figheight(figure.get_figheight() + 0.17 * math.ceil(len(lines) / 2))  # room for the legend
            figure.legend(lines.values(), labels, loc="outside lower center", ncols=2, fontsize="small")
        caption = f"{study.title}: mean and one standard deviation over the seeds"
        pictures.append(Picture(caption, png(figure), as_pdf(figure)))
    for variant, found in zip(variants, runs, strict=True):
        for name in study.figure.pictures:
            for file in [run.path / "figures" / f"{name}.png" for run in found[:1]]:
                if file.is_file():
                    caption = f"{variant.name}: {name.replace('_', ' ')}"
                    pictures.append(drawn_by_a_run(file, caption, Question.RESULT, OF_RUNS.get(name, False)))
    return Section([], study.title, rows, [], pictures, numbers=numbers)


def search_section(study: SearchStudy, tried: Sequence[Candidate]) -> Section:
    """Returns what a search has tried, and validation accuracy against the number of the trial, a curve a recipe.

    Args:
        study: the study.
        tried: all candidates.
    """
    tries = "every combination" if study.search.trials is None else f"{study.search.trials} trials a recipe"
    title = f"Search: {tries}, {study.search.sampler}"
    figure, (axis,) = new_figure(1, width=9)
    draw_search(axis, tried)
    caption = f"{title}: validation accuracy, mean over the seeds"
    return Section([], title, [_row(one) for one in tried], [], [Picture(caption, png(figure), as_pdf(figure))])


def draw_search(axis: Axes, tried: Sequence[Candidate]) -> None:
    """Draws validation accuracy against the number of the trial, and the best so far, of each recipe.

    Args:
        axis: an empty one.
        tried: all candidates.
    """
    for place, kind in enumerate(dict.fromkeys(one.kind for one in tried)):
        of_recipe = [one for one in tried if one.kind == kind]
        finished = [(one.number, 100 * a) for one in of_recipe if (a := one.accuracy) is not None]
        stopped = [(one.number, 100 * a) for one in of_recipe if (a := _when_stopped(one)) is not None]
        numbers, best = [n for n, _ in finished], list(accumulate((a for _, a in finished), max))
        colour, marker = look(place).colour, look(place).marker
        axis.step(numbers, best, where="post", color=colour)
        axis.plot(*_columns(finished), marker, color=colour, label=kind)
        axis.plot(*_columns(stopped), "x", color=colour, alpha=0.5)
    axis.set(xlabel="trial (×: stopped early; line: the best so far)", ylabel="validation accuracy, last epoch (%)")
    axis.legend()


# ------------------------------------------------------------------------------------------------------------ internals


def _row(one: Candidate) -> dict[str, str]:
    accuracy, stopped = one.accuracy, _when_stopped(one)
    said = "" if accuracy is None else f"{100 * accuracy:.2f}"
    if stopped is not None:
        said = f"stopped early at {100 * stopped:.2f}"
    options = ", ".join(f"{key}={option_text(value)}" for key, value in one.options.items())
    return {"recipe": one.kind, "trial": str(one.number), "validation accuracy (%)": said, "options": options}


def _when_stopped(one: Candidate) -> float | None:
    """Returns the accuracy at which a candidate was stopped; None where it was not."""
    found = [seed for seed in map(outcome, one.trials) if seed is not None and seed.stopped_after is not None]
    return float(np.mean([seed.accuracy for seed in found])) if len(found) == len(one.trials) else None


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def _scale(name: str) -> float:
    return 100.0 if name.endswith("accuracy") else 1.0


def _label(name: str) -> str:
    return f"{name} (%)" if name.endswith("accuracy") else name


def _estimate(runs: Sequence[Run], name: str) -> Estimate | None:
    values = [_scale(name) * value for value in (run.last(name) for run in runs) if value is not None]
    return Estimate.of(values) if values else None


def _draw_points(axis: Axes, x: str, name: str, variants: Sequence[Variant], runs: Sequence[Sequence[Run]]) -> None:
    """Draws last values against an option, or against the recipes; what is no number stands in the file's order."""
    position = _positions(x, variants)
    recipes = dict.fromkeys(variant.recipe.name for variant in variants)
    for place, recipe in enumerate(("",) if x == "recipe" else recipes):
        found = [
            (position(variant), estimate)
            for variant, of_variant in zip(variants, runs, strict=True)
            if recipe in ("", variant.recipe.name) and (estimate := _estimate(of_variant, name)) is not None
        ]
        found.sort(key=lambda point: point[0])  # a grid may name its numbers in any order
        axis.errorbar(
            [at for at, _ in found],
            [estimate.mean for _, estimate in found],
            # of one seed no spread is known, which a bar of no length would say to be 0
            [math.nan if estimate.std is None else estimate.std for _, estimate in found],
            color=look(place).colour,
            fmt="o" if x == "recipe" else f"{look(place).marker}-",
            capsize=3,
            label=recipe or None,
        )
    axis.set_xlabel(x.rpartition(".")[2])
    labels = _labels(x, variants)
    if labels is not None:
        axis.set_xticks(range(len(labels)), labels, rotation=30, ha="right")


def _labels(x: str, variants: Sequence[Variant]) -> list[str] | None:
    """Returns what stands on an axis in words; None where it has numbers."""
    if x == "recipe":
        return [variant.name for variant in variants]
    values = [variant.values[x] for variant in variants]
    if all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return None
    return list(dict.fromkeys(map(option_text, values)))


def _positions(x: str, variants: Sequence[Variant]) -> Callable[[Variant], float]:
    labels = _labels(x, variants)
    if labels is None:
        return lambda variant: float(variant.values[x])  # type: ignore[arg-type]
    return lambda variant: labels.index(variant.name if x == "recipe" else option_text(variant.values[x]))


def _draw_curves(axis: Axes, x: str, name: str, variants: Sequence[Variant], runs: Sequence[Sequence[Run]]) -> None:
    """Draws a curve a variant, with a band, against the epochs."""
    for i, (variant, of_variant) in enumerate(zip(variants, runs, strict=True)):
        curves = [_by_epoch(run, name) for run in of_variant if name in run.curves]
        if not curves:
            continue
        common = sorted(set.intersection(*(set(curve) for curve in curves)))
        parts = in_parts(name, common)
        at = [part[-1] for part in parts]
        values = _scale(name) * np.array(
            [[fmean(curve[epoch] for epoch in part) for part in parts] for curve in curves]
        )
        label = f"{variant.name} (n = {len(curves)})"
        marks = max(1, len(at) // MARKS)
        (line,) = axis.plot(at, values.mean(0), label=label, markevery=(i % marks, marks), **look(i).options)
        if len(curves) > 1:
            mean, spread = values.mean(0), values.std(0, ddof=1)
            axis.fill_between(at, mean - spread, mean + spread, color=line.get_color(), alpha=0.2, linewidth=0)
    axis.set_xlabel(x)


def _by_epoch(run: Run, name: str) -> Mapping[float, float]:
    """Returns a run's scalar by the epochs that it had trained."""
    length = (max(run.curves["train/accuracy"]) + 1) / max(run.epochs, 1)
    return {round((step + 1) / length, 6): value for step, value in run.curves[name].items()}
