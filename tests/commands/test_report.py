"""The report: what it computes of runs, from runs made here; broken ones spoil nothing."""

import csv
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.tensorboard import SummaryWriter

from bioplausible.__main__ import main
from bioplausible.commands.recipes import all_recipes
from bioplausible.commands.report import departures, sections, tables
from bioplausible.commands.report.departures import kind_of, shipped
from bioplausible.commands.report.nets import net_name
from bioplausible.commands.report.page import short_paths
from bioplausible.commands.report.runs import Run
from bioplausible.commands.report.tables import PUBLISHED
from tests.helpers import CONFIGS, make_run


def rows(path):
    with Path(path).open() as file:
        return list(csv.DictReader(file))


def test_seeds_are_aggregated_and_compared_with_the_published_figures(capsys):
    for seed, accuracy in ((0, 0.90), (10, 0.91), (20, 0.92)):
        make_run(Path(f"logs/ep/version_{seed}"), accuracy, seed)
    make_run(Path("logs/ep/version_30"), 0.8816, 0, learning_rates=[0.1, 0.1])  # another setting
    make_run(Path("logs/bp/version_0"), 0.8941, 0, recipe="fashion_mnist/backpropagation")
    assert main(["report", "logs", "--out", "out"]) == 0
    found = rows("out/settings.csv")
    assert [row["rule"] for row in found] == [
        "Backpropagation, cross entropy",
        "EquilibriumPropagation, learning_rates=[0.07, 0.03]",
        "EquilibriumPropagation, learning_rates=[0.1, 0.1]",
    ]
    assert found[2]["published_mean"] == ""  # no recipe that was published
    assert found[2]["not_comparable"] == "learning_rates=[0.1, 0.1], not [0.07, 0.03]"
    many = next(row for row in found if row["n"] == "3")
    assert [float(many[f"test_accuracy_{name}"]) for name in ("mean", "std")] == pytest.approx([91, 1], abs=1e-4)
    assert many["seeds"] == "0 10 20"
    assert [many[f"published_{name}"] for name in ("mean", "std", "n")] == ["88.16", "0.442", "10"]
    assert float(many["test_accuracy_interval"]) == pytest.approx(4.30265 / math.sqrt(3), abs=1e-4)  # t for two degrees
    # Welch's t is (91 − 88.16) / √(1²/3 + 0.442²/10), and of 2.24 degrees of freedom
    assert float(many["welch_p"]) == pytest.approx(0.03275, abs=1e-5)
    assert many["deviates"] == "yes"
    assert many["seconds_per_epoch"] == "7"
    assert many["samples_per_second"] == "1010"
    assert many["steps_per_second"] == "50.5"  # batches of 20
    assert [row["deviates"] for row in found if row["n"] == "1"] == ["", ""]
    text = Path("out/report.md").read_text()
    start = "| EquilibriumPropagation, learning_rates=[0.07, 0.03] | 91.00 ± 1.00 | ± 2.48 |  |  | 3 | 0, 10, 20 "
    assert f"{start}| 88.16 ± 0.44 (n = 10) | +2.84, p = 0.033 | ▲ | 7.0 | 50 | 1010 |" in text
    start = "| EquilibriumPropagation, learning_rates=[0.1, 0.1] | 88.16 |  |  |  | 1 | 0 "
    assert f"{start}| not comparable: learning_rates=[0.1, 0.1], not [0.07, 0.03] |  |  | 7.0 |" in text
    assert "| no test: n = 1 |  | 7.0 |" in text  # backpropagation's


NET = [[1, 28, 28], {"conv": 32, "kernel": 5, "pool": "max"}, {"conv": 64, "kernel": 3, "stride": 2}, 10]


def test_networks_on_images_have_their_own_tables_and_count_as_their_recipe(tmp_path, monkeypatch):
    """Named <rule>_conv.yaml or otherwise: it is the network that tells recipes apart."""
    for seed in (0, 10):
        make_run(Path(f"logs/conv/version_{seed}"), 0.9, seed, layer_sizes=None, network=NET)
    explicit = [[1, 28, 28], {**NET[1], "stride": 1, "padding": 0, "pool": {"max": 2}}, NET[2], {"dense": 10}]
    make_run(Path("logs/conv/version_20"), 0.91, 20, layer_sizes=None, network=explicit)
    make_run(Path("logs/another_beta/version_0"), 0.7, 0, layer_sizes=None, network=NET, beta=0.5)
    make_run(Path("logs/another_net/version_0"), 0.6, 0, layer_sizes=None, network=[*NET[:2], 10])
    make_run(Path("logs/dense/version_0"), 0.8816, 0, layer_sizes=None, network=[784, 500, 10])
    folder = tmp_path / "recipes/fashion_mnist"
    folder.mkdir(parents=True)
    dense = CONFIGS / "fashion_mnist/equilibrium_propagation.yaml"
    shutil.copy(dense, folder)
    config = yaml.safe_load(dense.read_text())
    config["model"]["init_args"] |= {"network": NET}
    del config["model"]["init_args"]["layer_sizes"]
    (folder / "equilibrium_propagation_conv.yaml").write_text(yaml.safe_dump(config))
    monkeypatch.setattr(departures, "all_recipes", lambda: sorted((tmp_path / "recipes").glob("*/*.yaml")))
    of_net = {"data": "FashionMNISTDataModule", "rule": "EquilibriumPropagation", "network": NET}
    monkeypatch.setattr(tables, "PUBLISHED", [*PUBLISHED, {**of_net, "mean": 90.5, "std": 0.1, "seeds": 5}])
    assert main(["report", "logs"]) == 0
    found = rows("report/settings.csv")
    conv = "1×28×28 · conv32 5×5 max · conv64 3×3/2 · 10"
    columns = ("test_accuracy_mean", "test_accuracy_std", "published_mean", "published_std", "published_n")
    shown = [(row["net"], *(row[name] and round(float(row[name]), 2) for name in columns)) for row in found]
    assert shown == [
        ("1×28×28 · conv32 5×5 max · 10", 60, "", "", "", ""),
        (conv, 70, "", "", "", ""),
        (conv, 90.33, 0.58, 90.5, 0.1, 5),
        ("784-500-10", 88.16, "", 88.16, 0.44, 10),
    ]
    assert "beta=0.5" in found[1]["rule"]
    assert f"## FashionMNIST, {conv}\n" in Path("report/report.md").read_text()


def test_what_is_logged_of_skip_connections_is_drawn_too(monkeypatch):
    seen = []
    monkeypatch.setattr(sections, "curves", lambda groups, names, title: seen.append((title, names)))
    make_run(Path("logs/version_0"), 0.9, 0, layer_sizes=None, network=NET)
    board = SummaryWriter("logs/version_0")
    for layer in ("10", "9", "3_from_1", "3"):
        board.add_scalar(f"alignment/layer_{layer}_cosine", 0.5, 9)
    board.close()
    assert main(["report", "logs"]) == 0
    by_kind = {title.rpartition(": ")[2]: names for title, names in seen}
    assert [name for name, *_ in by_kind["updates"]] == [
        f"alignment/layer_{layer}_cosine" for layer in ("3", "3_from_1", "9", "10")
    ]
    assert by_kind["updates"][1][1] == "cosine with backpropagation, layer 3 from 1"
    assert [name for name, *_ in by_kind["alignment"]] == ["alignment/layer_2_angle"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"layer_sizes": [784, 500, 10]}, "784-500-10"),
        ({"layer_sizes": None, "network": [[784], {"dense": 500}, 10]}, "784-500-10"),
        ({"network": [[1, 28, 28], 500, 10]}, "1×28×28 · 500 · 10"),
        ({"network": [784, {"dense": 500}, {"dense": 500, "skip": 1}, 10]}, "784 · 500 · 500 +1 · 10"),
        (
            {"network": [[3, 32, 32], {"local": 8, "kernel": 3, "padding": 1, "pool": {"average": 3}}, 10]},
            "3×32×32 · local8 3×3 pad1 average3 · 10",
        ),
        (
            {"network": [[1, 9, 9], {"conv": 8, "kernel": 3, "skip": [0, {"from": 0}, {"from": 0, "stride": 2}]}, 10]},
            "1×9×9 · conv8 3×3 +0 +0/1 +0/2 · 10",
        ),
        (
            {"network": [9, {"class_path": "a.b.Ring", "init_args": {"units": 5, "far": True}, "pool": "max"}, 10]},
            "9 · Ring(far=True, units=5) max · 10",
        ),
    ],
)
def test_a_network_has_a_name_of_one_line(options, name):
    assert net_name(options) == name


def test_other_networks_have_other_names():
    layer = {"conv": 8, "kernel": 3}
    changes = [{}, {"conv": 9}, {"kernel": 5}, {"stride": 2}, {"padding": 1}, {"pool": "max"}, {"pool": "average"}]
    changes += [
        {"pool": {"max": 3}},
        {"skip": 0},
        {"skip": 1},
        {"skip": {"from": 1}},
        {"skip": {"from": 1, "stride": 2}},
    ]
    changes += [{"skip": [0, 1]}]
    nets = [[[1, 9, 9], {**layer, **change}, 10] for change in changes]
    nets += [[[1, 9, 9], {"local": 8, "kernel": 3}, 10], [[9, 9, 1], layer, 10], [[1, 9, 9], layer, 11], [81, 10]]
    nets += [[[1, 9, 9], {"class_path": "Own", "init_args": {"a": a}}, 10] for a in (1, 2)]
    names = [net_name({"network": net}) for net in nets]
    assert len(set(names)) == len(names)


def test_options_that_bear_on_results_make_settings_and_the_later_run_of_a_seed_counts():
    make_run(Path("logs/version_9"), 0.7, 0)
    make_run(Path("logs/version_10"), 0.8, 0, start=1000)
    make_run(Path("logs/version_11"), 0.2, 0)
    config = yaml.safe_load(Path("logs/version_11/config.yaml").read_text())
    config["trainer"]["limit_train_batches"] = 3
    Path("logs/version_11/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", "logs"]) == 0
    assert {round(float(row["test_accuracy_mean"]), 4) for row in rows("report/settings.csv")} == {80, 20}
    status = {Path(row["run"]).name: row["status"] for row in rows("report/runs.csv")}
    assert status["version_9"].startswith("finished; a later run has its seed")
    short = next(row for row in rows("report/settings.csv") if row["test_accuracy_mean"] == "20")
    assert "limit_train_batches=3" in short["rule"]
    assert short["published_mean"] == ""
    assert short["not_comparable"] == "limit_train_batches=3"


@pytest.mark.parametrize("limit", [2, 0.5])
def test_validation_by_a_part_of_the_split_makes_a_setting_of_its_own(limit):
    """Validation accuracy chooses settings, and that of a few images is no seed of that of all."""
    for seed, part in enumerate((None, None, limit)):
        make_run(Path(f"logs/version_{seed}"), 0.7, seed)
        config = yaml.safe_load(Path(f"logs/version_{seed}/config.yaml").read_text())
        config["trainer"]["limit_val_batches"] = part
        Path(f"logs/version_{seed}/config.yaml").write_text(yaml.safe_dump(config))
    assert main(["report", "logs"]) == 0
    assert {("limit_val_batches" in row["rule"], row["n"]) for row in rows("report/settings.csv")} == {
        (False, "2"),
        (True, "1"),
    }


def test_the_page_needs_nothing_else_and_shows_everything():
    make_run(Path("logs/version_0"), 0.9, 0)
    figures = Path("logs/version_0/figures")
    figures.mkdir()
    shutil.copy(_picture(), figures / "settling.png")
    shutil.copy(_picture(), figures / "receptive_fields.png")
    shutil.copy(_picture(), figures / "confusion_matrix.png")
    assert main(["report", "logs/version_0"]) == 0
    page = Path("report/index.html").read_text()
    assert not re.search(r"""src=["'](?!data:)""", page)
    assert not re.search(r"""href=["'](?!data:|#)""", page)  # but within the page
    assert "http" not in re.sub(r"base64,[\w+/=]+", "", page)
    assert page.count("data:image/png;base64,") == 5  # accuracy, angles, settling, receptive fields, confusion matrix
    text = Path("report/report.md").read_text()
    for said in ("git_commit: abc", "free_steps: 20", "settling of version_0", "confusion matrix of version_0"):
        assert said in page
        assert said in text
    links = re.findall(r"\]\((figures/\d+\.png)\)", text)
    assert len(links) == 5
    assert all(Path("report", link).is_file() for link in links)


def test_paths_are_short_on_the_page_and_whole_in_the_tables_to_take_away():
    make_run(Path("some/logs/bp/version_0"), 0.9, 0)
    make_run(Path("some/logs/ep/version_0"), 0.9, 10)
    assert main(["report", "some"]) == 0
    page = Path("report/index.html").read_text()
    assert (
        '<td class="path" title="some/logs/bp/version_0" data-column="run"><a href="#run-1">bp/version_0</a></td>'
        in page
    )
    assert '<details id="run-1"><summary title="some/logs/bp/version_0">bp/version_0</summary>' in page
    assert [row["run"] for row in rows("report/runs.csv")] == ["some/logs/bp/version_0", "some/logs/ep/version_0"]


PARTS = st.lists(st.sampled_from(["a", "b", ".."]), min_size=1, max_size=4)


@given(st.lists(PARTS.map(lambda parts: Path(*parts)), unique=True), st.booleans())
def test_short_paths_tell_runs_apart(paths, absolute):
    paths = [Path("/", *path.parts) if absolute and i % 2 else path for i, path in enumerate(paths)]
    short = short_paths(paths)
    assert len(set(short)) == len(paths)
    for path, name in zip(paths, short, strict=True):
        assert str(path).endswith(name)


def test_empty_columns_are_left_out_of_the_page():
    make_run(Path("logs/version_0"), 0.9, 0, "digits/backpropagation")
    assert main(["report", "logs"]) == 0
    page = Path("report/index.html").read_text()
    assert "published (%)" not in page
    assert "best validation (%)" not in page
    assert "<th>seeds</th>" in page
    assert '<td data-column="seeds">0</td>' in page
    make_run(Path("logs/version_1"), 0.9, 0)
    assert main(["report", "logs"]) == 0
    assert Path("report/index.html").read_text().count("<th>published (%)</th>") == 1


@pytest.mark.parametrize("kind", ["settling", "receptive_fields", "confusion_matrix", "information", "tsne"])
def test_every_figure_that_a_run_draws_is_shown(kind):
    make_run(Path("logs/version_0"), 0.9, 0)
    Path("logs/version_0/figures").mkdir()
    shutil.copy(_picture(), Path(f"logs/version_0/figures/{kind}.png"))
    assert main(["report", "logs"]) == 0
    page = Path("report/index.html").read_text()
    assert f"{kind.replace('_', ' ')} of version_0</figcaption>" in page
    assert page.index("How do they learn?</h3>") < page.index(f"{kind.replace('_', ' ')} of version_0</figcaption>")
    assert not Path("report/figures/03.pdf").exists()
    Path(f"logs/version_0/figures/{kind}.pdf").write_bytes(b"%PDF-1.4 of the run")
    assert main(["report", "logs"]) == 0
    assert Path("report/figures/03.pdf").read_bytes() == b"%PDF-1.4 of the run"


def _picture():
    from matplotlib.figure import Figure

    Figure(figsize=(1, 1)).savefig("picture.png")
    return "picture.png"


def test_unfinished_and_broken_runs_are_listed_and_spoil_nothing(capsys):
    make_run(Path("logs/version_0"), 0.9, 0)
    make_run(Path("logs/version_1"), None, 10, epochs=20)
    make_run(Path("logs/version_2"), None, 20)
    make_run(Path("logs/version_3"), 0.9, 30, epochs=0)
    make_run(Path("logs/version_4"), 0.9, 40)
    Path("logs/version_4/config.yaml").write_text("model: [")
    make_run(Path("logs/version_5"), 0.9, 50)
    Path("logs/version_5/config.yaml").write_text("model: 3")
    make_run(Path("logs/version_10"), 0.9, 80, layer_sizes=None, network=[[1, 8, 8], {"conv": "many"}, 10])
    make_run(Path("logs/version_11"), 0.9, 90, layer_sizes=None)
    Path("logs/version_6").mkdir()
    make_run(Path("logs/version_7"), 0.9, 60)
    Path("logs/version_7/config.yaml").unlink()
    make_run(Path("logs/version_8"), 0.9, 70)
    for events in Path("logs/version_8").glob("events*"):
        events.write_bytes(events.read_bytes()[:100] + b"\x00garbage" * 50)
    Path("logs/version_9").mkdir()
    shutil.copy("logs/version_0/config.yaml", "logs/version_9/config.yaml")
    assert main(["report", "logs"]) == 0
    status = {Path(row["run"]).name: row["status"] for row in rows("report/runs.csv")}
    assert len(status) == 12
    assert status["version_0"] == "finished"
    assert status["version_1"] == "unfinished: 20 of 50 epochs"
    assert status["version_2"] == "not tested"
    assert status["version_3"] == "unfinished: 0 of 50 epochs"
    assert status["version_4"].startswith("broken: config.yaml")
    assert status["version_5"].startswith("broken: config.yaml")
    assert status["version_6"] == "empty"
    assert status["version_10"].startswith("broken: config.yaml")
    assert status["version_11"].startswith("broken: config.yaml")
    assert status["version_7"] == "broken: no config.yaml"
    assert status["version_8"] != "finished"
    assert status["version_9"] == "empty: nothing was logged"
    assert "12 runs, 1 finished" in capsys.readouterr().out
    (setting,) = rows("report/settings.csv")
    assert setting["n"] == "1"


def test_a_real_run_is_reported_with_its_environment():
    args = ["fit", "--trainer.max_epochs", "2", "--trainer.enable_progress_bar", "false"]
    assert main([*args, "--trainer.callbacks", "[Settling]"]) == 0
    assert main(["report", "lightning_logs"]) == 0
    (row,) = rows("report/runs.csv")
    assert row["status"] == "finished"
    assert (row["rule"], row["net"], row["seed"]) == ("CorInfoMax", "64-200-10", "0")
    page = Path("report/index.html").read_text()
    assert "pytorch-lightning" in page
    assert "settling of version_0" in page


def test_without_finished_runs_the_report_says_so(capsys):
    Path("logs/version_0").mkdir(parents=True)
    assert main(["report", "logs"]) == 0
    assert "1 run, 0 finished" in capsys.readouterr().out
    assert Path("report/index.html").is_file()


@pytest.mark.parametrize("args", [[], ["nowhere"], ["."], ["logs", "--out", "/dev/null/report"]])
def test_bad_input_gets_one_sentence(args, capsys):
    if "logs" in args:
        make_run(Path("logs/version_0"), 0.9, 0)
    assert main(["report", *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_every_published_recipe_has_its_figure():
    of_recipes = {e["recipe"]: e for e in PUBLISHED if "recipe" in e}
    of_settings = [e for e in PUBLISHED if "recipe" not in e]
    figures = {(e["data"], e["rule"], net_name(e), e.get("loss")): e for e in of_settings}
    assert len(figures) + len(of_recipes) == len(PUBLISHED)
    count = 0
    for path in all_recipes():
        if path.parent.name == "digits":
            continue
        text = path.read_text()
        config = yaml.safe_load(text)
        options = config["model"]["init_args"]
        if "Published: " not in text:  # without a figure that runs can be set beside
            continue
        key = (config["data"]["class_path"], config["model"]["class_path"], net_name(options), options.get("loss"))
        figure = of_recipes.get(f"{path.parent.name}/{path.stem}") or figures[key]
        assert float(text.split("Published: ")[1].split()[0]) == pytest.approx(figure["mean"], abs=0.0051), path
        count += 1
    assert count == len(PUBLISHED)


def as_fit_saves_it(capsys, *arguments):
    """Returns a whole run with the configuration that fit would save."""
    with pytest.raises(SystemExit, match="0"):
        main(["fit", *arguments, "--print_config"])
    config = yaml.safe_load(capsys.readouterr().out)
    return tables.Group([Run(Path("run"), config=config, epochs=config["trainer"]["max_epochs"])])


FASHION = [p for p in all_recipes() if p.parent.name == "fashion_mnist" and "_conv" not in p.stem]
SINGLE = [p for p in all_recipes() if p.stem == "kolen_pollack_weight_mirror"]


@pytest.mark.parametrize("path", [*FASHION, *SINGLE], ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_run_as_fit_saves_it_is_compared_with_its_recipes_figure_if_it_has_one(path, capsys):
    """Every option stands in a run's configuration, the recipe's own and the defaults that it leaves out."""
    one = as_fit_saves_it(capsys, "--config", str(path))
    assert one.not_comparable == ""
    text = path.read_text()
    if "# Published: " in text:
        assert one.published is not None
        assert one.published.mean == pytest.approx(float(text.split("# Published: ")[1].split()[0]), abs=0.0051)
    else:
        assert one.figure is None


def test_a_figure_without_a_recipe_is_of_the_only_one_of_its_kind():
    for entry in PUBLISHED:
        if "recipe" not in entry:
            kind = (entry["data"], entry["rule"], net_name(entry))
            found = [kind_of(recipe) for _, recipe in shipped(tuple(all_recipes()))]
            assert sum(of[:3] == kind and of[3] == entry.get("loss", of[3]) for of in found) <= 1, entry


BASES = "{0: 0.95, 20: 0.9, 25: 0.8"
NETWORK = ["--model.layer_sizes", "null", "--model.network", "[784, 500, 10]"]
OTHERWISE = [
    ("corinfomax", ["--model.optimizer.init_args.momentum", "0.9"], "optimizer.momentum=0.9, not 0"),
    ("corinfomax", ["--model.optimizer.init_args.weight_decay", "0.1"], "optimizer.weight_decay=0.1, not 0"),
    ("corinfomax", ["--model.lr_scheduler.init_args.continuous", "true"], "lr_scheduler.continuous=True, not False"),
    ("corinfomax", ["--model.lr_scheduler", "null"], "lr_scheduler=None, not PiecewisePower"),
    (
        "corinfomax",
        ["--model.lr_scheduler.init_args.bases", BASES + ", 30: 0.1}"],
        "lr_scheduler.bases={'0': 0.95, '20': 0.9, '25': 0.8, '30': 0.1}, not {'0': 0.95, '20': 0.9, '25': 0.8}",
    ),
    ("corinfomax", ["--model.optimizer", "Adam"], "optimizer=Adam, not SGD"),
    ("corinfomax", ["--model.evaluation_steps", "31"], "evaluation_steps=31, not 30"),
    ("corinfomax", ["--trainer.callbacks+", "BatchSizeFinder"], "BatchSizeFinder=on"),
    ("corinfomax", ["--trainer.precision", "64"], "precision=64-true"),
    ("corinfomax", ["--trainer.devices", "2"], "devices=2"),
    ("corinfomax_sparse", ["--model.dual_step_sizes", "{1: 1e-6}"], "dual_step_sizes={'1': 1e-06}, not "),
    ("backpropagation", ["--model.optimizer.init_args.betas", "[0.5,0.9]"], "optimizer.betas=[0.5, 0.9], not [0.9, "),
    ("backpropagation", ["--model.optimizer.init_args.lr", "0.5"], "optimizer.lr=0.5, not "),
    (
        "equilibrium_propagation",
        ["--model.learning_rates", "null", "--model.optimizer.init_args.lr", "0.5"],
        "learning_rates=None, not [0.07, 0.03]; optimizer.lr=0.5",
    ),
    # what differs in writing alone
    ("corinfomax", ["--model.lr_scheduler.init_args.bases", BASES + "}"], ""),
    ("corinfomax", ["--model.feedback_learning_rates", "0.07"], ""),  # of one layer
    ("corinfomax", ["--model.evaluation_steps", "null"], ""),
    ("corinfomax", NETWORK, ""),
    ("corinfomax", ["--trainer.precision", "32", "--trainer.devices", "1", "--trainer.deterministic", "true"], ""),
    ("equilibrium_propagation", ["--model.loss", "squared_error"], ""),
]


@pytest.mark.parametrize(("recipe", "arguments", "reason"), OTHERWISE, ids=str)
def test_a_run_is_held_to_a_figure_where_nothing_that_bears_on_it_differs(recipe, arguments, reason, capsys):
    """An option that a recipe does not name has its class's default there, also one of its optimizer or schedule."""
    one = as_fit_saves_it(capsys, "--config", f"fashion_mnist/{recipe}", *arguments)
    assert one.figure is not None
    assert one.not_comparable.startswith(reason)
    assert one.not_comparable.count(";") == reason.count(";")  # and nothing else
    assert bool(one.not_comparable) == bool(reason)


def test_a_run_that_was_changed_on_the_way_is_held_to_no_figure(capsys):
    one = as_fit_saves_it(capsys, "--config", "fashion_mnist/corinfomax")
    changed = "from step 780 lr=0.002 (0.001 before)"
    (run,) = one.runs
    assert tables.Group([replace(run, changed=[changed])]).not_comparable == changed


def test_a_recipe_whose_layers_have_the_optimizers_rate_departs_in_nothing(capsys):
    """Its rates by layer are null in what fit saves, and not named in the recipe."""
    (run,) = as_fit_saves_it(capsys, "--config", "mnist/difference_target_propagation").runs
    assert departures.departures(run) == []


SIGNS = "cifar10/feedback_alignment_lenet_uniform_sign"


def test_of_several_recipes_of_a_net_the_nearest_ones_figure_counts():
    """Feedback alignment and its sign-sharing forms are one rule with one net and one loss."""
    figures = {e["recipe"]: e["mean"] for e in PUBLISHED if "recipe" in e}
    recipes = [name for name in figures if "/feedback_alignment" in name]
    assert len(recipes) == 4
    for i, name in enumerate([*recipes, "cifar10/feedback_alignment_lenet_adam"]):
        make_run(Path(f"logs/version_{i}"), 0.9, 0, recipe=name, epochs=250, planned=250)
    make_run(Path("logs/changed/version_0"), 0.5, 0, recipe=SIGNS, epochs=250, planned=250, initialization="linear")
    assert main(["report", "logs"]) == 0
    found = {row["rule"]: row for row in rows("report/settings.csv")}
    assert len(found) == 6
    for row in found.values():
        (feedback,) = [part for part in row["rule"].split(", ") if part.startswith("feedback=")]
        of_kind = next(n for n in recipes if feedback.partition("=")[2] in n or feedback == "feedback=fixed")
        changed, adam = "initialization=linear" in row["rule"], "Adam" in row["rule"]
        assert row["published_mean"] == ("" if changed or adam else f"{figures[of_kind]:g}"), row["rule"]
        assert row["not_comparable"] == ("initialization=linear, not xavier" if changed else "")
        assert (row["published_n"], row["deviates"]) == ("", "")
    text = Path("report/report.md").read_text()
    assert "| 83.80 | no test: the published standard deviation is not known |" in text  # without a number of seeds


def test_gains_of_initial_weights_tell_settings_apart():
    """Not nets: their name stays what is wired."""
    net = [*NET[:2], {**NET[2], "skip": {"from": 0, "stride": 14}}, 10]
    for i, change in enumerate(
        [{}, {"gain": 0.5}, {"gain": {"weight": 0.5}}, {"skip": {**net[2]["skip"], "gain": 2.0}}]
    ):
        changed = [*net[:2], {**net[2], **change}, 10]
        make_run(Path(f"logs/version_{i}"), 0.9, i, layer_sizes=None, network=changed)
    assert main(["report", "logs"]) == 0
    found = rows("report/settings.csv")
    assert [row["n"] for row in found] == ["1"] * 4
    assert len({row["net"] for row in found}) == 1
    assert sum("gains={'2': 0.5}" in row["rule"] for row in found) == 1
    assert sum("gains={'2+0': 2.0}" in row["rule"] for row in found) == 1
