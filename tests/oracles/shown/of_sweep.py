"""What a sweep adds to the report, and the tables that a search writes, of runs that are made up."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from bioplausible.commands.report import page
from bioplausible.commands.report.reading import read_run
from bioplausible.commands.sweep.search import Candidate, write_results
from bioplausible.commands.sweep.sections import search_section, study_section
from bioplausible.commands.sweep.space import Space
from bioplausible.commands.sweep.study import Search, SearchStudy, Study, StudyFigure, StudyRecipe
from bioplausible.commands.sweep.trials import Trial
from bioplausible.commands.sweep.variants import Variant
from tests.helpers import CONFIGS
from tests.oracles.shown.catching import WHITE, catching
from tests.oracles.shown.keeping import Lines, Shown
from tests.oracles.shown.of_report import ANGLES, Left, text_of_page, validation

NAMES = {"slow": "digits/corinfomax", "fast": "digits/equilibrium_propagation"}
RECIPES = {name: StudyRecipe(CONFIGS / f"{path}.yaml", {}, Space({}, {}), {}, name) for name, path in NAMES.items()}
SEEDS = (0, 1, 5)

FIGURES: dict[str, tuple[StudyFigure, list[Any]]] = {
    "recipe": (StudyFigure(y=("test/accuracy", "val/*", "lost/*"), pictures=("settling", "other")), [{}]),
    "epoch": (StudyFigure("epoch", ("train/accuracy", "alignment/layer_2_*")), [{}]),
    "number": (StudyFigure("model.beta", ("test/accuracy",)), [{"model.beta": b} for b in (1.0, 0.25, 0.5)]),
    "word": (StudyFigure("model.loss", ("test/loss",)), [{"model.loss": w} for w in ("b", "a", True)]),
}
"""What a study draws, and the values of the options that its variants have, by what goes on the axis."""


def results(disturbance: float = 0.0) -> Iterator[tuple[str, str, Shown]]:
    """Yields what studies and searches show; nothing in them depends on weights that could be disturbed."""
    for name, (figure, values) in FIGURES.items():
        yield name, "", _study(figure, values)
    yield "search", "", _search()


def _study(figure: StudyFigure, values: list[Any]) -> Shown:
    with catching() as caught:
        study = Study(Path("study.yaml"), "Two rules", tuple(RECIPES.values()), SEEDS, {}, (), figure)
        variants = []
        for i, (recipe, of_variant) in enumerate((r, v) for r in RECIPES.values() for v in values):
            trials = []
            for seed in SEEDS:
                test = None if (i, seed) in ((1, 1), (1, 5)) else 0.9 - 0.03 * i + seed**2 / 300
                more = {**validation([0.5, 0.8 + i / 50, 0.7 + seed / 90]), **(ANGLES if i else {})}
                made = Left(f"{i}/{seed}", NAMES[recipe.name], seed, test, 3, more=more).write(Path())
                (made / "figures").mkdir()
                (made / "figures" / "settling.png").write_bytes(WHITE)
                trials.append(Trial(f"{i}/{seed}", str(made), [], {"seed": seed}, 1))
            variants.append(Variant(recipe, of_variant, tuple(trials)))
        section = study_section(study, variants)
        runs = [read_run(Path(trial.folder)) for variant in variants for trial in variant.trials]
        page.write(runs, Path("report"), "bioplausible sweep", [section])
        own = {name: value for name, value in caught.shown.items() if name.startswith("figure 1 ")}
        caught.shown.clear()
        caught.shown |= own | {f"row {i}": str(row) for i, row in enumerate(section.rows, start=1)}
        pictures = [f"{one.name} {one.caption} | {one.lines} | {one.question.value}" for one in section.pictures]
        caught.shown |= {"title": section.title, "pictures": "; ".join(pictures)}
        if figure.x == "recipe":
            caught.shown["index.html"] = Lines(text_of_page(Path("report/index.html").read_text()))
    return caught.shown


OUTCOMES = {
    ("slow", 0): [(0.7, 0.8, None), (0.75, 0.75, None)],
    ("slow", 1): [(0.9, 0.91, None), (0.88, 0.95, None)],
    ("slow", 2): [(0.2, 0.3, 1), (0.25, 0.25, 1)],
    ("slow", 3): [(0.93, 0.93, None)],
    ("slow", 4): [(0.89, 0.92, None), (0.89, 0.9, None)],
    ("fast", 0): [(0.4, 0.5, 2), (0.5, 0.6, None)],
    ("fast", 1): [],
}
"""Of a search's candidates by recipe and number, of each seed that ended, its accuracies and when it was stopped."""


def _search() -> Shown:
    with catching() as caught:
        options = {"trainer.max_epochs": 5}
        search = Search(5, "bayesian")
        study = SearchStudy(
            Path("search.yaml"),
            "A search",
            tuple(RECIPES.values()),
            SEEDS[:2],
            options,
            (),
            StudyFigure(),
            search=search,
        )
        tried = []
        for (recipe, number), ended in OUTCOMES.items():
            trials = []
            for seed in study.seeds:
                folder = Path(recipe, str(number), str(seed))
                folder.mkdir(parents=True)
                if seed < len(ended):
                    note = dict(zip(("accuracy", "best_accuracy", "stopped_after"), ended[seed], strict=True))
                    (folder / "outcome.yaml").write_text(yaml.safe_dump(note))
                    (folder / "seconds.txt").write_text(str(10.26 * (seed + 1)))
                elif number == 3:
                    (folder / "log.txt").write_text("some line\nerror: It failed.\n")
                trials.append(Trial(f"{number}/{seed}", str(folder), [], {"seed": seed}, 1))
            drawn = {"model.beta": 0.1 * (number + 1), "model.weight_decay": number % 2 == 0}
            of_recipe = replace(RECIPES[recipe], path=CONFIGS / f"{NAMES[recipe]}.yaml")
            tried.append(Candidate(of_recipe, recipe, number, {}, drawn, tuple(trials)))
        section = search_section(study, tried)
        best = write_results(tried, study, Path())
        caught.shown |= {f"row {i}": str(row) for i, row in enumerate(section.rows, start=1)}
        caught.shown |= {"title": section.title, "caption": section.pictures[0].caption}
        caught.shown |= {f"best of {kind}": "none" if one is None else one.name for kind, one in best.items()}
        for i, line in enumerate(Path("trials.csv").read_text().splitlines()):
            caught.shown[f"trials.csv {i}"] = line
        for file in sorted(Path("best").rglob("*.yaml")):
            caught.shown[str(file)] = file.read_text()
    return caught.shown
