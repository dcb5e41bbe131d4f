"""However a setting is given, the run is the same; and the settings of one class are not those of another."""

import json
import re
import shutil
import warnings
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.loggers.logger import DummyLogger

from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.commands.configuration import consistent, implied_recipe
from bioplausible.commands.logger_places import run_places
from bioplausible.commands.recipes import all_recipes, recipe_of, recipes
from bioplausible.commands.sources import Source, sources
from tests.helpers import FEW, RUN, all_rules
from tests.helpers import command_line as in_a_process

# ------------------------------------------------------------------------------- every form of every option is the same


class Parsed(Exception):  # noqa: N818 - no error
    """Carries a configuration out of the command line before anything is built."""


def parsed(args, monkeypatch):
    """Returns the configuration that a command's options come to, without building anything of it."""

    def stop(command):
        parser, config = command.known_options[command.subcommand], command.config[command.subcommand]
        raise Parsed(yaml.safe_load(parser.dump(config, skip_none=False)))

    with monkeypatch.context() as patched:
        patched.setattr(command_line.CommandLine, "instantiate_classes", stop)
        try:
            command_line.run(args)
        except Parsed as found:
            config = dict(found.args[0])
            config.pop("config", None)
            return config
    raise AssertionError("nothing was parsed")


RECIPE = "digits/equilibrium_propagation"

SETTINGS = {
    "seed_everything": st.integers(0, 99),
    "checkpoint_every_n_steps": st.integers(1, 99),
    "checkpoint_keep": st.integers(1, 9),
    "model.init_args.layer_sizes": st.just([64, 30, 10]),
    "model.init_args.beta": st.floats(0.1, 2),
    "model.init_args.free_steps": st.integers(1, 50),
    "model.init_args.step_size": st.sampled_from([0.1, 1e-3, 1.0]),
    "model.init_args.random_beta_sign": st.booleans(),
    "model.init_args.learning_rates": st.sampled_from([[0.2, 0.1], [1, 1]]),
    "model.init_args.lr_scheduler_interval": st.sampled_from(["epoch", "step"]),
    "data.init_args.batch_size": st.integers(1, 99),
    "data.init_args.validation_split": st.sampled_from([0.0, 0.25]),
    "data.init_args.subset_size": st.none() | st.integers(1, 999),
    "trainer.max_epochs": st.integers(1, 9),
    "trainer.max_steps": st.integers(1, 9),
    "trainer.limit_train_batches": st.sampled_from([1, 1.0, 0.5, 7, None]),
    "trainer.limit_val_batches": st.sampled_from([1, 1.0, 0.5, 7, None]),
    "trainer.limit_test_batches": st.sampled_from([1, 1.0, 0.5, 7, None]),
    "trainer.limit_predict_batches": st.sampled_from([1, 1.0, 0.5, 7, None]),
    "trainer.val_check_interval": st.sampled_from([1, 1.0, 0.5, 7, None]),
    "trainer.check_val_every_n_epoch": st.integers(1, 9),
    "trainer.log_every_n_steps": st.integers(0, 99),
    "trainer.precision": st.sampled_from(["64-true", "bf16-mixed"]),
    "trainer.deterministic": st.booleans(),
    "trainer.default_root_dir": st.sampled_from(["here", "~/there"]),
    "trainer.logger.init_args.save_dir": st.sampled_from(["runs", "~/runs"]),
    "trainer.logger.init_args.version": st.sampled_from(["a", "7"]),
}
"""Settings of each kind that ``fit`` has, with values to draw."""


def nested(flat):
    """Returns settings by place as a configuration, with the class that each is of."""
    config = {}
    for place, value in flat.items():
        node = config
        *keys, last = place.split(".")
        for key in keys:
            node = node.setdefault(key, {})
        node[last] = value
    for part, path in (("model", "EquilibriumPropagation"), ("data", "DigitsDataModule")):
        if part in config:
            config[part]["class_path"] = path
    if "logger" in config.get("trainer", {}):
        config["trainer"]["logger"]["class_path"] = "bioplausible.training.loggers.RunLogger"
    return config


def short(place):
    return place.replace(".init_args.", ".")


def text(value):
    return "null" if value is None else json.dumps(value) if not isinstance(value, str) else value


@settings(max_examples=4)
@given(st.fixed_dictionaries({}, optional=SETTINGS))
def test_a_setting_is_the_same_in_every_form(flat):
    with pytest.MonkeyPatch.context() as monkeypatch:
        recipe = ["--config", RECIPE]
        words = {
            "two words": [word for place, value in flat.items() for word in (f"--{place}", text(value))],
            "one word": [f"--{place}={text(value)}" for place, value in flat.items()],
            "short": [word for place, value in flat.items() for word in (f"--{short(place)}", text(value))],
        }
        Path("mine.yaml").write_text(yaml.safe_dump(nested(flat)))
        words["file"] = ["--config", "mine.yaml"] if flat else []
        words["file in one word"] = ["--config=mine.yaml"] if flat else []
        words["text"] = ["-c", yaml.safe_dump(nested(flat))] if flat else []
        expected = parsed(["fit", *recipe, *words["two words"]], monkeypatch)
        for place, value in flat.items():
            found = expected
            for key in place.split("."):
                found = found[key]
            if not place.endswith("save_dir"):
                assert (found, type(found)) == (value, type(value)), place
        for form, options in words.items():
            assert parsed(["fit", *recipe, *options], monkeypatch) == expected, form

        saved = yaml.safe_dump(expected, sort_keys=False)  # a saved configuration, alone and with the options again
        for options in ([], words["two words"]):
            assert parsed(["fit", "--config", saved, *options], monkeypatch) == expected

        plain = {place: value for place, value in flat.items() if "init_args" not in place}
        rest = [word for place, value in flat.items() if place not in plain for word in (f"--{place}", text(value))]
        for place, value in plain.items():
            monkeypatch.setenv(f"PL_FIT__{place.replace('.', '__').upper()}", text(value))
        in_environment = parsed(["fit", "--model", "EquilibriumPropagation", *rest], monkeypatch)
        assert in_environment == expected  # the recipe that is implied lies below the environment


def test_every_option_of_the_trainer_reads_the_same_from_a_file_as_from_a_word(monkeypatch):
    config = parsed(["fit"], monkeypatch)["trainer"]
    values = {
        name: value
        for name, value in config.items()
        if isinstance(value, (bool, int, float, str)) and name not in ("logger", "callbacks", "plugins")
    }
    changed = {
        name: (not value if isinstance(value, bool) else value if isinstance(value, str) else value + 1)
        for name, value in values.items()
    }
    assert len(changed) > 10
    words = [word for name, value in changed.items() for word in (f"--trainer.{name}", text(value))]
    in_words = parsed(["fit", *words], monkeypatch)
    assert in_words == parsed(["fit", "--config", yaml.safe_dump({"trainer": changed})], monkeypatch)
    assert {name: in_words["trainer"][name] for name in changed} == changed


# -------------------------------------------------------------------------------------- the recipe that a name implies


@pytest.mark.parametrize("data", ["Digits", "FashionMNIST", "MNIST", "CIFAR10", "CIFAR100"])
@pytest.mark.parametrize("rule", [cls.__name__ for cls in all_rules()])
def test_a_rule_named_alone_gets_its_own_recipe_for_the_data_set(data, rule):
    recipe = recipe_of(f"{data}DataModule", rule)
    of_data = ["--data", f"{data}DataModule"] if data != "Digits" else []
    for named in (["--model", rule], [f"--model=bioplausible.{rule}"], ["--model.class_path", rule]):
        below = command_line.complete(["fit", *named, *of_data]).below
        if recipe is not None:
            assert below == yaml.safe_load(recipe.read_text())
        else:  # its own defaults: nothing of another rule's
            assert "model" not in below
            assert below["trainer"]["max_epochs"] >= 1
            assert below.get("data", {"class_path": f"{data}DataModule"})["class_path"] == f"{data}DataModule"


def test_a_rule_without_a_recipe_has_its_own_defaults(monkeypatch):
    options = ["--model", "DirectFeedbackAlignment", "--data", "MNISTDataModule", "--model.layer_sizes", "[784, 10]"]
    found = parsed(["fit", *options], monkeypatch)
    own = "model: {class_path: DirectFeedbackAlignment, init_args: {layer_sizes: [784, 10]}}\ndata: MNISTDataModule"
    assert found["model"] == parsed(["fit", "--config", own], monkeypatch)["model"]
    of_corinfomax = yaml.safe_load((recipes() / "mnist/corinfomax.yaml").read_text())
    assert found["trainer"]["max_epochs"] == of_corinfomax["trainer"]["max_epochs"]


def test_without_any_name_it_is_corinfomax_on_digits(monkeypatch):
    default = parsed(["fit"], monkeypatch)
    assert default == parsed(["fit", "--config", "digits/corinfomax"], monkeypatch)
    trainer = "trainer: {max_epochs: 3}"  # a file that names no rule
    assert parsed(["fit", "--config", trainer], monkeypatch) == {
        **default,
        "trainer": {**default["trainer"], "max_epochs": 3},
    }


def test_a_recipe_is_known_by_its_name_unless_there_is_such_a_file(monkeypatch, capsys):
    named = parsed(["fit", "--config", "digits/backpropagation"], monkeypatch)
    assert named == parsed(["fit", "--config", str(recipes() / "digits/backpropagation.yaml")], monkeypatch)
    Path("digits").mkdir()
    Path("digits/backpropagation").write_text(
        "model: {class_path: Backpropagation, init_args: {layer_sizes: [64, 5, 10]}}\ndata: DigitsDataModule"
    )
    with_ending = parsed(["fit", "--config", "digits/backpropagation.yaml"], monkeypatch)
    assert with_ending == named
    mine = parsed(["fit", "--config", "digits/backpropagation"], monkeypatch)
    assert mine["model"]["init_args"]["layer_sizes"] == [64, 5, 10]


# ----------------------------------------------------------------------------------------------- when a class changes


def test_another_rule_over_a_configuration_keeps_the_network_alone(monkeypatch, capsys):
    config = parsed(["fit", "--config", "digits/corinfomax", "--model", "Backpropagation"], monkeypatch)
    assert "model is Backpropagation instead of CorInfoMax: layer_sizes stays," in capsys.readouterr().out
    own = "model: {class_path: Backpropagation, init_args: {layer_sizes: [64, 200, 10]}}\ndata: DigitsDataModule"
    assert config["model"] == parsed(["fit", "--config", own], monkeypatch)["model"]
    for second in ("model: Backpropagation", "{model: {class_path: bioplausible.Backpropagation}}"):
        options = ["--config", "digits/corinfomax", "--config", second]
        assert parsed(["fit", *options], monkeypatch)["model"] == config["model"]


def test_another_optimizer_keeps_nothing_of_the_one_before(monkeypatch, capsys):
    base = parsed(["fit", "--config", "digits/predictive_coding"], monkeypatch)["model"]["init_args"]
    assert base["optimizer"]["init_args"]["lr"] != 0.001
    for options in (
        ["--model.optimizer", "SGD"],
        ["--model.init_args.optimizer=torch.optim.SGD"],
        ["--config", "model: {class_path: PredictiveCoding, init_args: {optimizer: {class_path: SGD}}}"],
    ):
        found = parsed(["fit", "--config", "digits/predictive_coding", *options], monkeypatch)["model"]["init_args"]
        assert found["optimizer"]["class_path"] == "torch.optim.SGD"
        assert found["optimizer"]["init_args"]["lr"] == 0.001, options  # SGD's default
        assert {**found, "optimizer": None} == {**base, "optimizer": None}
        assert "model.optimizer is SGD instead of Adam: " in capsys.readouterr().out
    same = ["--model.optimizer", "Adam"]
    found = parsed(["fit", "--config", "digits/predictive_coding", *same], monkeypatch)["model"]["init_args"]
    assert found == base
    assert "instead" not in capsys.readouterr().out


def test_another_schedule_or_logger_keeps_nothing_of_the_one_before(monkeypatch):
    mine = "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: mine, name: other}}}"
    options = ["--config", mine, "--trainer.logger", "TensorBoardLogger", "--trainer.logger.save_dir", "tb"]
    logger = parsed(["fit", *options], monkeypatch)["trainer"]["logger"]
    assert logger["class_path"].endswith("TensorBoardLogger")
    assert logger["init_args"]["save_dir"] == "tb"
    assert logger["init_args"]["name"] == "digits/corinfomax"  # TensorBoardLogger's default here
    logger = parsed(["fit", "--trainer.logger", "CSVLogger"], monkeypatch)["trainer"]["logger"]
    assert logger["init_args"] == {  # nothing of RunLogger's
        "save_dir": "lightning_logs",
        "name": "digits/corinfomax",
        "version": None,
        "prefix": "",
        "flush_logs_every_n_steps": 100,
    }
    options = ["--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "7"]
    found = parsed(["fit", "--config", "digits/corinfomax", *options], monkeypatch)["model"]["init_args"]
    assert found["lr_scheduler"]["init_args"]["gamma"] == 0.1  # StepLR's default, not ExponentialLR's value


def test_another_data_set_keeps_how_much_data_at_a_time(monkeypatch, capsys):
    mine = "data: {class_path: CIFAR10DataModule, init_args: {batch_size: 7, horizontal_flip: true, mean: [1, 1, 1]}}"
    data = parsed(["fit", "--config", "digits/corinfomax", "--config", mine, "--data", "MNISTDataModule"], monkeypatch)
    assert data["data"]["init_args"]["batch_size"] == 7
    assert data["data"]["init_args"]["mean"] is None
    assert data["data"]["init_args"]["horizontal_flip"] is False
    out = capsys.readouterr().out
    assert "data is MNISTDataModule instead of CIFAR10DataModule: batch_size stays, horizontal_flip, mean" in out


def test_a_network_in_the_place_of_layer_sizes_and_back(monkeypatch):
    network = "[[1, 8, 8], {conv: 4, kernel: 3}, 10]"
    found = parsed(["fit", "--model", "Backpropagation", "--model.network", network], monkeypatch)["model"]["init_args"]
    assert found["layer_sizes"] is None
    assert found["network"] == yaml.safe_load(network)
    found = parsed(["fit", "--config", "digits/backpropagation_conv", "--model.layer_sizes", "[64, 10]"], monkeypatch)
    assert found["model"]["init_args"]["network"] is None
    assert found["model"]["init_args"]["layer_sizes"] == [64, 10]


def test_what_a_class_leaves_is_said_in_one_line():
    lines = []
    found = consistent(
        sources("fit", ["-c", "{model: {class_path: A, init_args: {x: 1}}}", "--model", "B"]), lines.append
    )
    assert lines == ["model is B instead of A: x of A is left out."]
    assert found[0].content == {"model": {"class_path": "B"}}
    assert yaml.safe_load(found[0].words[1]) == found[0].content


OTHERS = ["CorInfoMax", "NudgedPredictiveCoding", "PredictiveCoding"]


@settings(max_examples=12)
@given(
    st.sampled_from(OTHERS),
    st.floats(0.2, 0.9),
    st.sampled_from(["words", "dictionary", "file", "text", "environment", "recipe, then a word"]),
    st.sampled_from(["--model", "--model=", "--model.class_path", "file"]),
)
def test_nothing_of_a_class_survives_another_one_however_both_are_given(other, beta, first, then):
    Path("first.yaml").write_text(f"model: {{class_path: EquilibriumPropagation, init_args: {{beta: {beta}}}}}")
    Path("then.yaml").write_text(f"model: {other}\ndata: DigitsDataModule")
    text = Path("first.yaml").read_text()
    before = {
        "words": ["--model", "EquilibriumPropagation", "--model.beta", str(beta)],
        "dictionary": ["--model", f"{{class_path: EquilibriumPropagation, init_args: {{beta: {beta}}}}}"],
        "file": ["--config", "first.yaml"],
        "text": ["--config", text],
        "environment": [],
        "recipe, then a word": ["--config", "digits/equilibrium_propagation", "--model.init_args.beta", str(beta)],
    }[first]
    after = {
        "--model": ["--model", other],
        "--model=": [f"--model=bioplausible.{other}"],
        "--model.class_path": ["--model.class_path", other],
        "file": ["--config", "then.yaml"],
    }[then]
    with pytest.MonkeyPatch.context() as monkeypatch:
        is_set_up = first in ("file", "text", "recipe, then a word")  # by a file: no recipe lies below
        own = f"model: {{class_path: {other}, init_args: {{layer_sizes: [64, 10]}}}}\ndata: DigitsDataModule"
        sizes = ["--model.layer_sizes", "[64, 10]", "--data", "DigitsDataModule"]
        alone = ["--config", own] if is_set_up else ["--model", other, *sizes]
        expected = parsed(["fit", *alone], monkeypatch)["model"]
        if first == "environment":
            monkeypatch.setenv("PL_FIT__MODEL", "EquilibriumPropagation")
            monkeypatch.setenv("PL_FIT__MODEL__BETA", str(beta))
        assert parsed(["fit", *before, *after, *sizes], monkeypatch)["model"] == expected


LIGHTNINGS = {"monitor": "val/loss", "patience": 3}
TORCHS = {"patience": 3, "factor": 0.25}


@pytest.mark.parametrize(("options", "module"), [(LIGHTNINGS, "pytorch_lightning.cli"), (TORCHS, "torch.optim")])
@pytest.mark.parametrize("form", ["options", "long options", "file", "file and options", "class_path"])
def test_the_schedule_that_two_libraries_have_is_known_by_its_name(options, module, form, monkeypatch):
    """Lightning's, which takes a metric to monitor, where one is named; torch's where none is."""
    place = {"long options": "model.init_args.lr_scheduler"}.get(form, "model.lr_scheduler")
    short = {"long options": "init_args."}.get(form, "")
    words = [word for name, value in options.items() for word in (f"--{place}.{short}{name}", str(value))]
    by_path = {"class_path": "ReduceLROnPlateau", "init_args": options}
    if form.startswith("file"):
        where = {"lr_scheduler": "ReduceLROnPlateau" if form == "file and options" else by_path}
        model = {"class_path": "CorInfoMax", "init_args": where}
        Path("plateau.yaml").write_text(yaml.safe_dump({"model": model, "data": "DigitsDataModule"}))
        args = ["--config", "plateau.yaml", "--model.layer_sizes", "[64, 10]"]
        args += words if form == "file and options" else []
    elif form == "class_path":
        args = [f"--{place}", json.dumps(by_path)]
    else:
        args = [f"--{place}", "ReduceLROnPlateau", *words]
    scheduler = parsed(["fit", *args], monkeypatch)["model"]["init_args"]["lr_scheduler"]
    assert scheduler["class_path"].startswith(module)
    assert {name: scheduler["init_args"][name] for name in options} == options


@pytest.mark.parametrize("network", [["layer_sizes", "[64, 9, 8, 10]"], ["network", "[[1, 8, 8], 9, 8, 10]"]])
@pytest.mark.parametrize("recipe", [[], ["--config", "digits/corinfomax"]], ids=["implied", "named"])
def test_a_recipe_s_single_rate_goes_with_a_deeper_network_and_others_are_asked_for(network, recipe, capsys):
    deeper = [*recipe, *FEW, f"--model.{network[0]}", network[1]]
    assert main(["fit", *deeper, "--trainer.max_steps", "1"]) == 2
    assert (
        "feedforward_learning_rates has 2 entries: give one number, or one per layer 1 … 3 (3 in all), as with"
        " --model.init_args.feedforward_learning_rates."
    ) in capsys.readouterr().err
    rates = ["--model.feedforward_learning_rates", "[2.0, 1.5, 1.4]"]
    assert main(["fit", *deeper, *rates, "--trainer.max_steps", "1"]) == 0
    groups = torch.load(RUN / "checkpoints/last.ckpt", weights_only=True)["optimizer_states"][0]["param_groups"]
    assert {group["name"]: group["initial_lr"] for group in groups if "feedback" in group["name"]} == {
        "feedback_2": 0.3,
        "feedback_3": 0.3,
    }
    # what the user writes is taken at its word
    assert main(["fit", *deeper, *rates, "--model.feedback_learning_rates", "[0.3]"]) == 2


def test_all_lists_of_another_network_s_length_are_named_at_once(capsys):
    """With what to give for each, and what is given so trains; a single rate goes with any network."""
    shallower = ["--config", "digits/corinfomax_conv", *FEW, "--model.layer_sizes", "[64, 9, 10]"]
    assert main(["fit", *shallower]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    given = []
    for name, entries, layers in (("forward", 3, "1 … 2 (2 in all)"), ("back", 2, "2 … 2 (1 in all)")):
        option = f"feed{name}_learning_rates"
        wanted = f"{option} has {entries} entries: give one number, or one per layer {layers}, as with"
        assert f"{wanted} --model.init_args.{option}" in error
        given += [f"--model.init_args.{option}", "0.1"]
    assert main(["fit", *shallower, *given, "--trainer.max_steps", "1"]) == 0


def test_data_of_one_s_own_alone_are_learned_by_corinfomax(monkeypatch, capsys):
    own = ["--data", "ArraysDataModule", "--data.file", "mine.npz"]
    found = parsed(["fit", *own, "--model.layer_sizes", "[64, 30, 10]"], monkeypatch)
    assert found["model"]["class_path"] == "bioplausible.CorInfoMax"
    assert found["data"]["class_path"] == "bioplausible.ArraysDataModule"
    named = ["--model", "CorInfoMax"]
    assert found == parsed(["fit", *own, *named, "--model.layer_sizes", "[64, 30, 10]"], monkeypatch)
    assert "left out" not in capsys.readouterr().out


def test_a_setting_before_any_class_is_the_next_one_s(monkeypatch):
    found = parsed(["fit", "--model.beta", "0.7", "--model", "NudgedPredictiveCoding"], monkeypatch)["model"]
    assert found["init_args"]["beta"] == 0.7
    options = ["--model", "PredictiveCoding", "--model.optimizer.lr", "0.5", "--model.optimizer", "SGD"]
    found = parsed(["fit", *options], monkeypatch)["model"]["init_args"]["optimizer"]
    assert (found["class_path"], found["init_args"]["lr"]) == ("torch.optim.SGD", 0.5)


def test_a_file_may_set_a_rule_that_is_named_elsewhere(monkeypatch):
    Path("settings.yaml").write_text("model: {init_args: {beta: 0.4}}")
    Path("rule.yaml").write_text("model: EquilibriumPropagation")
    expected = parsed(["fit", "--model", "EquilibriumPropagation", "--model.beta", "0.4"], monkeypatch)
    for named in (["--model", "EquilibriumPropagation"], ["--config", "rule.yaml"]):
        for options in ([*named, "--config", "settings.yaml"], ["--config", "settings.yaml", *named]):
            assert parsed(["fit", *options], monkeypatch) == expected
    alone = parsed(["fit", "--config", "settings.yaml"], monkeypatch)
    assert alone == parsed(["fit", "--model.beta", "0.4"], monkeypatch)  # CorInfoMax's


def test_what_two_options_give_another_class_is_left_out_in_one_line(monkeypatch, capsys):
    first = ["--model", "EquilibriumPropagation", "--model.beta", "0.7", "--model.layer_sizes", "[64, 9, 10]"]
    found = parsed(["fit", *first, "--model.free_steps=3", "--model", "NudgedPredictiveCoding"], monkeypatch)["model"]
    assert found["init_args"]["layer_sizes"] == [64, 9, 10]
    assert capsys.readouterr().out.splitlines() == [
        "model is NudgedPredictiveCoding instead of EquilibriumPropagation: layer_sizes stays, beta, free_steps of"
        " EquilibriumPropagation are left out."
    ]


def test_a_class_is_known_by_any_of_its_paths_and_a_namesake_is_another(monkeypatch, capsys):
    full = "bioplausible.rules.corinfomax.CorInfoMax"
    saved = "model: {class_path: bioplausible.CorInfoMax, init_args: {epsilon: 0.11, layer_sizes: [64, 10]}}"
    found = parsed(["fit", "--config", saved, "--data", "DigitsDataModule", "--model", full], monkeypatch)
    assert found["model"]["init_args"]["epsilon"] == 0.11
    same = parsed(["fit", "--model.optimizer", "torch.optim.sgd.SGD"], monkeypatch)["model"]["init_args"]["optimizer"]
    assert same["init_args"]["lr"] == 0.001  # of the recipe, whose SGD it is
    assert "instead" not in capsys.readouterr().out
    mine = [Source({"model": {"class_path": "bioplausible.CorInfoMax", "init_args": {"epsilon": 1}}}, is_file=True)]
    mine += sources("fit", ["--model", f"{__name__}.CorInfoMax"])
    lines = []
    assert consistent(mine, lines.append)[0].content == {"model": {"class_path": f"{__name__}.CorInfoMax"}}
    ours = "bioplausible.CorInfoMax"
    assert lines == [f"model is {__name__}.CorInfoMax instead of {ours}: epsilon of {ours} is left out."]
    assert "model" not in implied_recipe(mine[1:])  # a namesake has no recipe of ours


class CorInfoMax:
    """No rule, but a namesake of one."""


STOPPING = "class_path: EarlyStopping, init_args: {monitor: %s%s}"


@pytest.mark.parametrize("before", ["[{%s}]", "{%s}"], ids=["list", "one"])
def test_a_list_replaces_what_was_there_and_its_entries_keep_nothing(before, monkeypatch):
    first = "trainer: {callbacks: " + before % (STOPPING % ("val/loss", ", patience: 7")) + "}"
    second = "trainer: {callbacks: [{" + STOPPING % ("train/loss", "") + "}]}"
    given_list = second.removeprefix("trainer: {callbacks: ").removesuffix("}")
    for options in (["--config", second], ["--trainer.callbacks", given_list]):
        (found,) = parsed(["fit", "--config", first, *options], monkeypatch)["trainer"]["callbacks"]
        assert (found["init_args"]["monitor"], found["init_args"]["patience"]) == ("train/loss", 3)
    loggers = "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: q}}, {class_path: RunLogger}]}"
    first, second = parsed(["fit", "--config", loggers], monkeypatch)["trainer"]["logger"]
    assert (first["init_args"]["name"], second["init_args"]["name"]) == ("digits/corinfomax",) * 2
    assert "flush_logs_every_n_steps" not in second["init_args"]  # nothing of CSVLogger's


def test_what_is_appended_replaces_nothing(monkeypatch, capsys):
    more = ["--trainer.callbacks+={class_path: Timer, init_args: {duration: '00:00:10:00'}}"]
    options = ["--trainer.callbacks+={" + STOPPING % ("val/loss", ", patience: 7") + "}", *more]
    first, second = parsed(["fit", *options], monkeypatch)["trainer"]["callbacks"]
    assert (first["init_args"]["patience"], second["init_args"]["duration"]) == (7, "00:00:10:00")
    options = ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir", "x"]
    first, second = parsed(["fit", *options], monkeypatch)["trainer"]["logger"]
    assert (first["class_path"].rpartition(".")[2], second["init_args"]["save_dir"]) == ("RunLogger", "x")
    assert "instead" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------------ the environment


@pytest.mark.parametrize(
    ("variables", "option", "value"),
    [
        ({"MODEL": "EquilibriumPropagation", "MODEL__BETA": "0.3"}, "model.init_args.beta", 0.3),
        ({"MODEL__OPTIMIZER__LR": "0.7"}, "model.init_args.optimizer.init_args.lr", 0.7),
        ({"DATA__BATCH_SIZE": "7"}, "data.init_args.batch_size", 7),
        ({"DATA__INIT_ARGS__BATCH_SIZE": "7"}, "data.init_args.batch_size", 7),
        ({"TRAINER__LOGGER__SAVE_DIR": "zzz"}, "trainer.logger.init_args.save_dir", "zzz"),
        ({"CONFIG": "digits/backpropagation"}, "model.class_path", "bioplausible.Backpropagation"),
        ({"CONFIG": "digits/backpropagation", "CHECKPOINT_KEEP": "3"}, "checkpoint_keep", 3),
        (
            {"MODEL__LR_SCHEDULER": "CosineAnnealingLR", "MODEL__LR_SCHEDULER__T_max": "3"},
            "model.init_args.lr_scheduler.init_args.T_max",
            3,
        ),
    ],
)
def test_an_environment_variable_sets_what_its_option_sets(variables, option, value, monkeypatch):
    words = [f"--{name.lower().replace('__', '.').replace('t_max', 'T_max')}={v}" for name, v in variables.items()]
    in_words = parsed(["fit", *words], monkeypatch)
    for name, v in variables.items():
        monkeypatch.setenv(f"PL_FIT__{name}", v)
    found = parsed(["fit"], monkeypatch)
    assert found == in_words
    for key in option.split("."):
        found = found[key]
    assert found == value


@pytest.mark.parametrize(
    ("place", "value"), [("data.subset_size", 77), ("data.init_args.subset_size", 77), ("model.init_args.beta", 0.4)]
)
def test_an_environment_variable_beside_a_recipe_lies_below_it(place, value, monkeypatch):
    """Where the recipe says nothing of it, it acts as the option does."""
    recipe = ["--config", "{model: {class_path: EquilibriumPropagation, init_args: {layer_sizes: [64, 10]}}, "]
    recipe[1] += "data: {class_path: DigitsDataModule}}"
    in_words = parsed(["fit", *recipe, f"--{place}", str(value)], monkeypatch)
    monkeypatch.setenv(f"PL_FIT__{place.upper().replace('.', '__')}", str(value))
    assert parsed(["fit", *recipe], monkeypatch) == in_words
    monkeypatch.setenv(f"PL_FIT__{place.upper().replace('.', '__')}", "1")
    assert parsed(["fit", *recipe, f"--{place}", str(value)], monkeypatch) == in_words


FILE = ["--config", "digits/backpropagation"]


@pytest.mark.parametrize(
    ("variables", "options", "place", "now", "mine"),
    [
        ({"TRAINER__MAX_EPOCHS": "3"}, FILE, "trainer.max_epochs", 50, 3),
        ({}, ["--trainer.max_epochs", "3", *FILE], "trainer.max_epochs", 50, 3),
        ({}, ["--data.init_args.batch_size=3", *FILE], "data.batch_size", 20, 3),
        ({}, ["--model", "CorInfoMax", *FILE], "model", "Backpropagation", "CorInfoMax"),
        ({}, ["--model.class_path", "CorInfoMax", *FILE], "model", "Backpropagation", "CorInfoMax"),
        ({}, ["--model.optimizer", "SGD", *FILE], "model.optimizer", "torch.optim.Adam", "SGD"),
        (
            {},
            ["--trainer.max_epochs", "4", "--config", "{trainer: {max_epochs: null, max_steps: 9}}"],
            "trainer.max_epochs",
            "null",
            4,
        ),
    ],
)
def test_what_a_file_overrules_is_said(variables, options, place, now, mine, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(f"PL_FIT__{name}", value)
    parsed(["fit", *options], monkeypatch)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if "overrules" in line]
    assert said.startswith(f"{place} is {now}, from a --config file: ")
    assert said.endswith(f"so {mine} is left out.")


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        ({"TRAINER__MAX_EPOCHS": "50"}, FILE),
        ({"TRAINER__MAX_EPOCHS": "3"}, []),
        ({}, [*FILE, "--trainer.max_epochs", "3"]),
        ({}, ["--trainer.max_epochs", "4", *FILE, "--trainer.max_epochs", "3"]),
        ({}, ["--config", "{trainer: {max_epochs: 3}}", *FILE]),  # a file above another is what files are for
        ({}, ["--model", "bioplausible.Backpropagation", *FILE]),
        ({}, ["--trainer.callbacks+=ModelSummary", *FILE]),
        ({}, ["--data.subset_size", "60", *FILE]),
    ],
)
def test_nothing_is_said_where_nothing_is_overruled(variables, options, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(f"PL_FIT__{name}", value)
    parsed(["fit", *options], monkeypatch)
    assert "overrules" not in capsys.readouterr().out


SCHEDULE = ["--model.lr_scheduler", "CosineAnnealingLR", "--model.lr_scheduler.T_max", "7"]
OF_ONE_S_OWN = """
model:
  class_path: EquilibriumPropagation
  init_args:
    layer_sizes: [64, 10]
    optimizer: {class_path: Adam, init_args: {amsgrad: true}}
    lr_scheduler: {class_path: CosineAnnealingLR, init_args: {T_max: 7}}
data: DigitsDataModule
"""
BASES = {
    "a recipe": ["--config", OF_ONE_S_OWN],
    "classes": ["--model", "EquilibriumPropagation", "--data", "DigitsDataModule", *SCHEDULE],
    "a checkpoint": ["--ckpt_path", "last"],
}
OF_ANY_CLASS = {
    "seed_everything": st.integers(0, 99),
    "model.init_args.beta": st.floats(0.1, 2),
    "model.init_args.lr_scheduler_interval": st.sampled_from(["epoch", "step"]),
    "model.init_args.optimizer.init_args.weight_decay": st.sampled_from([0.25, 0.5]),
    "model.init_args.lr_scheduler.init_args.eta_min": st.sampled_from([0.25, 1e-3]),
    "data.init_args.batch_size": st.integers(1, 99),
    "data.init_args.subset_size": st.integers(1, 999),
    "trainer.max_epochs": st.integers(1, 9),
    "trainer.limit_val_batches": st.sampled_from([1, 1.0, 0.5]),
    "trainer.logger.init_args.version": st.sampled_from(["a", "b"]),
}
"""Settings that nothing of :data:`OF_ONE_S_OWN` sets, of each part and of classes within."""


@pytest.mark.thorough
@settings(max_examples=2)
@given(*(st.fixed_dictionaries(OF_ANY_CLASS) for _ in range(3)), st.sets(st.sampled_from(list(OF_ANY_CLASS))))
@pytest.mark.parametrize("base", BASES)
def test_option_file_and_environment_set_the_same_and_come_in_this_order(base, first, second, third, shortened):
    with pytest.MonkeyPatch.context() as monkeypatch:
        if base == "a checkpoint" and not Path("lightning_logs").is_dir():
            train = ["--config", OF_ONE_S_OWN, *SCHEDULE, *FEW, "--trainer.max_steps", "1"]
            assert main(["fit", *train, "--trainer.enable_progress_bar", "false"]) == 0

        def name(place):
            return short(place) if place in shortened else place

        def options(flat):
            return [f"--{name(place)}={text(value)}" for place, value in flat.items()]

        def file(flat):
            content = nested(flat)
            del content["model"]["class_path"]  # a file that names a rule and sets it up has no recipe below it
            return ["--config", yaml.safe_dump(content)]

        def found(*args):
            return parsed(["fit", *BASES[base], *args], monkeypatch)

        of_option, of_second, of_third = (found(*options(flat)) for flat in (first, second, third))
        for place, value in first.items():
            here = of_option
            for key in place.split("."):
                here = here[key]
            assert here == value, place
        assert found(*file(first)) == of_option
        for place, value in first.items():
            monkeypatch.setenv(f"PL_FIT__{name(place).upper().replace('.', '__')}", text(value))
        assert found() == of_option
        assert found(*file(second)) == of_second
        assert found(*options(third)) == of_third
        assert found(*file(second), *options(third)) == of_third


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PL_FIT__TRAINER__MAX_EPOCH", "There is no option --trainer.max_epoch: did you mean --trainer.max_epochs?"),
        ("PL_TRAINER__MAX_EPOCHS", "The environment variable PL_TRAINER__MAX_EPOCHS names no command"),
        ("PL_CONFIG", "The environment variable PL_CONFIG names no command"),
    ],
)
def test_an_environment_variable_that_would_do_nothing_is_refused(name, said, monkeypatch, capsys):
    monkeypatch.setenv(name, "3")
    assert main(["fit", *FEW, "--trainer.max_steps", "1"]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


# --------------------------------------------------------------------------------------------------- a schedule's forms


@pytest.mark.parametrize("path", ["", "pytorch_lightning.cli.", "torch.optim.lr_scheduler."])
def test_a_plateau_with_its_metric_is_lightning_s_however_it_is_written(path, monkeypatch):
    node = {"class_path": f"{path}ReduceLROnPlateau", "init_args": {"monitor": "val/loss", "patience": 3}}
    flow = yaml.safe_dump(node, default_flow_style=True).strip()
    forms = {
        "YAML": ["--model.lr_scheduler", flow],
        "JSON": ["--model.init_args.lr_scheduler", json.dumps(node)],
        "file": ["--config", f"model: {{lr_scheduler: {flow}}}"],
        "words": ["--model.lr_scheduler", f"{path}ReduceLROnPlateau", "--model.lr_scheduler.monitor", "val/loss"],
    }
    forms["words"] += ["--model.lr_scheduler.patience", "3"]
    Path("plateau.yaml").write_text(flow)
    forms["a file of its own"] = ["--model.lr_scheduler", "plateau.yaml"]
    for form, options in forms.items():
        found = parsed(["fit", *options], monkeypatch)["model"]["init_args"]["lr_scheduler"]
        assert found["class_path"] == "pytorch_lightning.cli.ReduceLROnPlateau", form
        assert (found["init_args"]["monitor"], found["init_args"]["patience"]) == ("val/loss", 3), form


OF_EP = ["--model", "EquilibriumPropagation"]  # whose recipe has no schedule
BESIDE = "{class_path: ReduceLROnPlateau, monitor: val/loss}"
NEEDS = "below init_args, as in {class_path: ReduceLROnPlateau, init_args: {monitor: val/loss}}."


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model.lr_scheduler", BESIDE], f"model.lr_scheduler has monitor beside class_path: .*{re.escape(NEEDS)}"),
        (["--config", f"model: {{lr_scheduler: {BESIDE}}}"], f"model.lr_scheduler has monitor .*{re.escape(NEEDS)}"),
        (["--config", f"trainer: {{callbacks: [{BESIDE}]}}"], f"trainer.callbacks has monitor .*{re.escape(NEEDS)}"),
        (
            ["--config", "model: {class_path: CorInfoMax, beta: 1, leak: 2}"],
            "model has beta and leak beside class_path",
        ),
        (
            [*OF_EP, "--model.lr_scheduler.monitor", "val/loss"],
            r"model.lr_scheduler has settings \(monitor\) and no class: name",
        ),
        (
            [*OF_EP, "--model.lr_scheduler", "{monitor: val/loss}"],
            r"model.lr_scheduler has settings \(monitor\) and no class",
        ),
        (["--config", OF_ONE_S_OWN.replace("class_path: CosineAnnealingLR, ", "")], r"model.lr_scheduler has settings"),
    ],
)
def test_a_setting_without_a_class_or_beside_one_is_refused(options, said, capsys):
    assert main(["fit", *options, *FEW, "--trainer.max_steps", "1"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert re.match(f"error: {said}", error), error


# ------------------------------------------------------------------------------------------------ files, odd and broken


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "mine.yaml holds no settings"),
        (b"# only a remark", "mine.yaml holds no settings"),
        (b"[1, 2]", "mine.yaml holds no settings"),
        (b"model: [1", "mine.yaml is no YAML: "),
        (b"# caf\xe9\nmodel: Backpropagation", "mine.yaml is no text in UTF-8"),
        (b"\x00\x01", "mine.yaml is no text in UTF-8"),
        (b"model: CorInfoMax\nmodel: Backpropagation", "model is there twice in the settings that begin in line 1 of"),
        (b"trainer:\n  max_steps: 1\n  max_steps: 2", "max_steps is there twice in the settings that begin in line 2"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(content, said, capsys):
    Path("mine.yaml").write_bytes(content)
    for options in (["--config", "mine.yaml"], ["-cmine.yaml"]):
        assert main(["fit", *options, *FEW, "--trainer.max_steps", "1"]) == 2
        assert capsys.readouterr().err.startswith(f"error: {said}")


def test_line_ends_marks_and_names_of_files_change_nothing(monkeypatch):
    lines = "model:\n  class_path: Backpropagation\n  init_args: {layer_sizes: [64, 20, 10]}\ndata: DigitsDataModule\n"
    expected = parsed(["fit", "-c", lines], monkeypatch)
    for name, content in (
        ("a.yaml", lines.replace("\n", "\r\n").encode()),
        ("b.yaml", b"\xef\xbb\xbf" + lines.encode()),
        ("naïve größe.yaml", lines.encode()),
        ("anchors.yaml", lines.replace("{layer", "&a {layer").encode() + b"# &a\n"),
    ):
        Path(name).write_bytes(content)
        assert parsed(["fit", "--config", name], monkeypatch) == expected, name
        assert parsed(["fit", f"-c{name}"], monkeypatch) == expected, name


def test_files_that_a_file_names_lie_beside_it_also_when_a_class_changes(monkeypatch):
    Path("sub").mkdir()
    Path("sub/all.yaml").write_text("model: m.yaml\ntrainer: t.yaml\ndata: DigitsDataModule")
    Path("sub/m.yaml").write_text(
        "class_path: Backpropagation\n"
        "init_args: {layer_sizes: [64, 17, 10], loss: mean_squared_error, optimizer: o.yaml}"
    )
    Path("sub/o.yaml").write_text("class_path: Adam\ninit_args: {lr: 0.123, eps: 0.5}")
    Path("sub/t.yaml").write_text("max_epochs: 3\nlogger: {class_path: CSVLogger, init_args: {save_dir: mine}}")
    found = parsed(["fit", "--config", "sub/all.yaml"], monkeypatch)
    assert found["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.123
    assert found["trainer"]["logger"]["init_args"]["name"] == "digits/backpropagation"
    for named in (["--config", "sub/all.yaml"], ["--model", "sub/m.yaml", "--trainer", "sub/t.yaml"]):
        options = [*named, "--model.optimizer", "SGD", "--trainer.logger", "TensorBoardLogger"]
        found = parsed(["fit", *options], monkeypatch)
        assert found["model"]["init_args"]["layer_sizes"] == [64, 17, 10]
        assert found["model"]["init_args"]["loss"] == "mean_squared_error"
        assert found["model"]["init_args"]["optimizer"]["init_args"]["lr"] == 0.001  # SGD's own
        assert found["trainer"]["logger"]["init_args"]["save_dir"] == "lightning_logs"
        assert found["trainer"]["max_epochs"] == 3


def test_a_printed_configuration_is_one(monkeypatch, capsys):
    options = ["--config", "digits/corinfomax", "--model", "Backpropagation"]
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--print_config", *options])
    printed = capsys.readouterr()
    assert "instead of CorInfoMax" in printed.err
    assert parsed(["fit", "--config", printed.out], monkeypatch) == parsed(["fit", *options], monkeypatch)
    with pytest.raises(SystemExit, match="0"):
        main(["fit", "--print_config", "-c", "digits/backpropagation"])
    assert yaml.safe_load(capsys.readouterr().out)["model"]["class_path"] == "bioplausible.Backpropagation"


@pytest.mark.parametrize("value", ["-x", "a=b=c", "größe", "a b"])
def test_a_value_may_look_like_anything(value, monkeypatch):
    for options in (["--trainer.logger.version", value], [f"--trainer.logger.version={value}"]):
        found = parsed(["fit", *options], monkeypatch)["trainer"]["logger"]["init_args"]["version"]
        assert found == value
    for options in (["--model.optimizer.lr", "-1e-3"], ["--model.optimizer.lr=-1e-3"]):
        found = parsed(["fit", *options], monkeypatch)["model"]["init_args"]["optimizer"]["init_args"]["lr"]
        assert found == -1e-3


# --------------------------------------------------------------------------------------------------- last, and folders


def run_of(folder):
    """Trains for an epoch into a log folder, and returns its newest checkpoint."""
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", "--trainer.logger.save_dir", str(folder)]) == 0
    return next(Path(folder).expanduser().rglob("last.ckpt"))


def test_last_is_looked_for_where_the_logger_says_in_every_form(monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    mine, other = run_of("~/runs"), run_of("lightning_logs")
    assert other.stat().st_mtime_ns > mine.stat().st_mtime_ns
    assert sorted(p.name for p in Path().iterdir()) == ["home", "lightning_logs"]
    here = str(Path("home/runs").absolute())
    logger = {"class_path": "RunLogger", "init_args": {"save_dir": here}}
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}}))
    Path("all.yaml").write_text(yaml.safe_dump({"trainer": {"logger": logger}, "ckpt_path": "last"}))
    forms = [
        ["--trainer.logger.init_args.save_dir", here],
        ["--trainer.logger.save_dir", "~/runs"],
        [f"--trainer.logger.save_dir={here}"],
        ["--trainer.logger", json.dumps(logger)],
        ["--config", "mine.yaml"],
        ["--trainer.default_root_dir=other", "--trainer.logger.save_dir", here],
    ]
    for i, options in enumerate(forms):
        spelled = ["--ckpt_path=last"] if i % 2 else ["--ckpt_path", "last"]
        capsys.readouterr()
        assert main(["validate", *options, *spelled, "--trainer.enable_progress_bar", "false"]) == 0, options
        assert f"checkpoint           {mine}" in capsys.readouterr().out, options
    assert main(["test", "--config", "all.yaml", "--trainer.enable_progress_bar", "false"]) == 0
    assert f"checkpoint           {mine}" in capsys.readouterr().out
    monkeypatch.setenv("PL_VALIDATE__CKPT_PATH", "last")
    assert main(["validate", "--trainer.enable_progress_bar", "false"]) == 0
    assert f"checkpoint           {other}" in capsys.readouterr().out


def test_ckpt_path_in_a_file_resumes(capsys):
    last = run_of("lightning_logs")
    Path("go.yaml").write_text(yaml.safe_dump({"ckpt_path": "last", "trainer": {"max_epochs": 2}}))
    assert main(["fit", "--config", "go.yaml", "--trainer.enable_progress_bar", "false"]) == 0
    assert f"checkpoint           {last}" in capsys.readouterr().out
    assert [p.name for p in last.parents[2].iterdir()] == ["version_0"]
    assert torch.load(last, weights_only=True)["epoch"] == 1


def test_the_other_commands_take_the_configuration_that_training_saved(capsys):
    last = run_of("lightning_logs")
    saved = ["--config", str(last.parents[1] / "config.yaml"), "--trainer.enable_progress_bar", "false"]
    for command in ("validate", "test", "predict"):
        assert main([command, "--ckpt_path", "last", *saved]) == 0
        assert main([command, "--checkpoint_keep", "2", "--ckpt_path", "last", *saved]) == 2  # as an option it is none


def test_a_resumed_run_with_nothing_left_to_train_says_so(capsys):
    run_of("lightning_logs")
    for epochs, is_said in (("1", True), ("2", False)):
        capsys.readouterr()
        options = ["--trainer.max_epochs", epochs, "--trainer.enable_progress_bar", "false"]
        assert main(["fit", "--ckpt_path", "last", *options]) == 0
        assert ("nothing was left to train" in capsys.readouterr().out) == is_said


def test_null_takes_a_checkpoint_back_and_nothing_is_no_name(monkeypatch, capsys):
    Path("go.yaml").write_text("ckpt_path: nowhere.ckpt")
    assert main(["fit", "--config", "go.yaml"]) == 2
    assert "There is no checkpoint nowhere.ckpt" in capsys.readouterr().err
    assert parsed(["fit", "--config", "go.yaml", "--ckpt_path", "null"], monkeypatch) == parsed(["fit"], monkeypatch)
    assert main(["fit", *FEW, "--trainer.max_steps", "1", "--ckpt_path", ""]) == 2  # an empty variable of the shell's
    assert "ckpt_path is empty" in capsys.readouterr().err
    Path("word.yaml").write_text("ckpt_path: hpc")
    for command in ("fit", "validate", "test", "predict"):
        for words in (["--ckpt_path", "best"], ["--ckpt_path=registry:mine:version:3"], ["--config", "word.yaml"]):
            assert main([command, *words]) == 2
            error = capsys.readouterr().err
            assert "name a checkpoint's file, a run's folder, or last for the newest run's last one" in error
            assert error.count("\n") == 1


def test_last_is_looked_for_where_the_logger_that_counts_says():
    loggers = "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: mine}}}"
    assert run_places(sources("fit", ["--config", loggers])) == [Path("mine")]
    changed = ["--config", loggers, "--trainer.logger", "TensorBoardLogger"]
    assert run_places(sources("fit", changed)) == [Path("lightning_logs")]
    listed = "trainer: {logger: [{class_path: CSVLogger, init_args: {save_dir: mine}}]}"
    assert run_places(sources("fit", ["--config", loggers.replace("mine", "old"), "--config", listed])) == [
        Path("mine")
    ]


LOGGERS_OFF = {
    "an option": ["--trainer.logger", "false"],
    "no logger in a list": ["--trainer.logger=[]"],
    "a file": ["--config", "trainer: {logger: false}"],
}


@pytest.mark.parametrize("off", LOGGERS_OFF.values(), ids=LOGGERS_OFF)
@pytest.mark.parametrize(
    ("logged", "folder"),
    [
        ([], "lightning_logs"),
        (["--trainer.logger.save_dir", "mine"], "mine"),
        (["--trainer.logger", "CSVLogger", "--trainer.logger.init_args.save_dir=mine"], "mine"),
        (["--config", "trainer: {logger: {class_path: CSVLogger, init_args: {save_dir: mine}}}"], "mine"),
        (["--config", "trainer: {logger: [{class_path: RunLogger, init_args: {save_dir: mine}}]}"], "mine"),
        (["--trainer.logger", "true"], "lightning_logs"),
    ],
)
@pytest.mark.parametrize("root", [None, "elsewhere"])
def test_last_is_the_same_run_where_nothing_is_logged(logged, folder, off, root):
    further = [] if root is None else ["--trainer.default_root_dir", root]
    place = Path(folder) if folder == "mine" else Path(root or "", folder)
    assert run_places(sources("test", [*further, *logged]))[0] == place
    # a run without a logger leaves its checkpoints there
    assert run_places(sources("test", [*further, *logged, *off])) == [place, Path(root or "", "checkpoints")]


class Elsewhere(DummyLogger):
    """A logger without a folder of its own for each run, of whose place nothing is known."""


def test_a_logger_without_folders_has_its_runs_anywhere_below_the_root():
    options = ["--trainer.logger", f"{__name__}.{Elsewhere.__name__}", "--trainer.default_root_dir", "root"]
    assert run_places(sources("test", options)) == [Path("root")]


@pytest.mark.parametrize("root", [[], ["--trainer.default_root_dir", "elsewhere"]], ids=["here", "elsewhere"])
@pytest.mark.parametrize("said", [[], ["--trainer.logger", "false"]], ids=["unsaid", "without a logger"])
def test_last_is_the_newest_run_with_a_logger_or_without(root, said, capsys):
    short = [*FEW, *root, "--trainer.max_epochs", "1"]
    files = Path(*root[1:], "checkpoints"), Path(*root[1:], RUN, "checkpoints")
    for i, options in enumerate((["--trainer.logger", "false"], [])):  # the newest one is of another kind each time
        assert main(["fit", *short, *options]) == 0
        capsys.readouterr()
        assert main(["test", "--ckpt_path", "last", *root, *said]) == 0
        assert f"checkpoint           {files[i] / 'last.ckpt'}" in capsys.readouterr().out
    shutil.rmtree(files[1].parents[3])
    assert main(["fit", *short, "--ckpt_path", "last", *said, "--trainer.max_epochs", "2"]) == 0
    assert torch.load(files[0] / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize("folder", ["~/runs", "$WHERE/runs", "${WHERE}/runs"])
@pytest.mark.parametrize("logger", ["RunLogger", "TensorBoardLogger", "CSVLogger"])
def test_a_folder_in_a_file_is_the_same_to_log_checkpoints_and_last(folder, logger, monkeypatch, tmp_path, capsys):
    for variable in ("HOME", "WHERE"):
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    options = {"class_path": logger, "init_args": {"save_dir": folder, "version": "mine"}}
    Path("mine.yaml").write_text(yaml.safe_dump({"trainer": {"logger": options}}))
    assert main(["fit", *FEW, "--trainer.max_steps", "1", "--config", "mine.yaml"]) == 0
    run = tmp_path / "home/runs/digits/corinfomax/mine"
    assert sorted(path.name for path in Path().iterdir()) == ["home", "mine.yaml"]
    assert {path.name for path in run.rglob("*")} >= {"config.yaml", "environment.yaml", "last.ckpt"}
    capsys.readouterr()
    assert main(["test", "--config", "mine.yaml", "--ckpt_path", "last"]) == 0
    assert f"checkpoint           {run / 'checkpoints/last.ckpt'}" in capsys.readouterr().out


def test_default_root_dir_holds_the_runs(capsys):
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", "--trainer.default_root_dir", "elsewhere"]) == 0
    assert [path.name for path in Path().iterdir()] == ["elsewhere"]
    assert list(Path("elsewhere/lightning_logs").rglob("last.ckpt"))
    options = ["--trainer.default_root_dir", "elsewhere", "--trainer.enable_progress_bar", "false"]
    assert main(["test", "--ckpt_path", "last", *options]) == 0


class OwnLogger(CSVLogger):
    def __init__(self, save_dir: str, name: str | None = "my_runs", version: str | None = None):
        super().__init__(save_dir, name, version)


OWN = f"{__name__}.{OwnLogger.__name__}"
PLACES = {
    "CSVLogger": ["--trainer.logger", "CSVLogger"],
    "TensorBoardLogger": ["--trainer.logger=pytorch_lightning.loggers.TensorBoardLogger"],
    "with an option": ["--trainer.logger", "CSVLogger", "--trainer.logger.flush_logs_every_n_steps", "1"],
    "in a file": ["--config", "trainer: {logger: {class_path: CSVLogger, init_args: {prefix: x}}}"],
    "names in a list": ["--trainer.logger", "[CSVLogger, TensorBoardLogger]"],
    "classes in a list": ["--config", "trainer: {logger: [{class_path: CSVLogger}, {class_path: RunLogger}]}"],
    "with options in a list": ["--trainer.logger", "[{class_path: CSVLogger, init_args: {prefix: x}}]"],
    "appended": ["--trainer.logger+=CSVLogger"],
    "two appended": ["--trainer.logger+=CSVLogger", "--trainer.logger+={class_path: TensorBoardLogger}"],
}


@pytest.mark.parametrize("options", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("root", [None, "elsewhere"])
def test_every_logger_of_files_logs_where_the_default_one_does(options, root, monkeypatch):
    further = [] if root is None else ["--trainer.default_root_dir", root]
    args = ["--config", "digits/backpropagation", *options, *further]
    found = parsed(["fit", *args], monkeypatch)["trainer"]["logger"]
    folder = "lightning_logs" if root is None else "elsewhere/lightning_logs"
    for logger in found if isinstance(found, list) else [found]:
        place = logger["init_args"]
        assert (place["save_dir"], place["name"], place["version"]) == (folder, "digits/backpropagation", None)
    assert run_places(sources("fit", args))[0] == Path(folder)  # where ``last`` is looked for


def test_a_place_that_is_named_is_kept(monkeypatch):
    for given_, name in (({"name": "x"}, "x"), ({"name": ""}, ""), ({"name": "lightning_logs"}, "lightning_logs")):
        entry = {"class_path": "CSVLogger", "init_args": {"save_dir": "mine", **given_}}
        for value in (entry, [entry]):
            found = parsed(["fit", f"--trainer.logger={json.dumps(value)}"], monkeypatch)["trainer"]["logger"]
            place = (found[0] if isinstance(found, list) else found)["init_args"]
            assert (place["save_dir"], place["name"]) == ("mine", name)
    for value in (OWN, f"[{OWN}]"):  # a class of one's own has its own name for runs
        found = parsed(["fit", f"--trainer.logger={value}"], monkeypatch)["trainer"]["logger"]
        place = (found[0] if isinstance(found, list) else found)["init_args"]
        assert (place["save_dir"], place["name"]) == ("lightning_logs", "my_runs")
    monkeypatch.setenv("HOME", "/home/me")
    at_home = '{"class_path": "CSVLogger", "init_args": {"save_dir": "~/runs"}}'
    for value in (at_home, f"[{at_home}]"):
        found = parsed(["fit", f"--trainer.logger={value}"], monkeypatch)["trainer"]["logger"]
        assert (found[0] if isinstance(found, list) else found)["init_args"]["save_dir"] == "/home/me/runs"


# ------------------------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize(("value", "steps"), [("1", 1), ("2", 2), ("1.0", 5), ("0.5", 2), ("null", 5)])
def test_one_batch_is_not_all_of_them(value, steps):
    done = []

    class Count(command_line.Callback):
        def on_fit_end(self, trainer, pl_module):
            done.append(trainer.global_step)

    # 100 images less a tenth for validation, 20 a batch
    options = ["--data.init_args.subset_size", "100", "--trainer.max_epochs", "1", "--trainer.logger", "false"]
    options += ["--trainer.enable_checkpointing", "false", "--trainer.enable_progress_bar", "false"]
    assert command_line.run(["fit", *options, "--trainer.limit_train_batches", value], [Count()]) == 0
    assert command_line.run(["fit", *options, f"-c=trainer: {{limit_train_batches: {value}}}"], [Count()]) == 0
    assert done == [steps, steps]


def test_the_least_is_not_more_than_the_most(capsys):
    for unit in ("epochs", "steps"):
        for most, is_refused in (("2", True), ("-1", False), ("3", False)):
            options = [f"--trainer.min_{unit}", "3", f"--trainer.max_{unit}", most, "--trainer.devices", "0"]
            assert main(["fit", *options]) == 2  # no device stops those that are let through
            said = f"min_{unit} is 3, but max_{unit} 2 ends the run before"
            assert (said in capsys.readouterr().err) == is_refused


def test_a_rate_that_would_do_nothing_is_refused(capsys):
    assert main(["fit", *FEW, "--model", "EquilibriumPropagation", "--model.optimizer.lr", "0.5"]) == 2
    assert "learning_rates gives every layer's rate" in capsys.readouterr().err
    assert not list(Path().rglob("*.ckpt"))
    assert (
        main(["fit", *FEW, "--model", "Backpropagation", "--model.optimizer.lr", "0.5", "--trainer.max_steps", "1"])
        == 0
    )


# ------------------------------------------------------------------------------------------- saved configurations


@pytest.mark.parametrize(
    "callback",
    [
        ["Timer", "--trainer.callbacks.duration=00:00:10:00"],
        ["StochasticWeightAveraging", "--trainer.callbacks.swa_lrs=0.05"],
        ["LambdaCallback"],
        ["EarlyStopping", "--trainer.callbacks.monitor=train/loss"],
    ],
    ids=lambda callback: callback[0],
)
def test_a_saved_configuration_reads_back(callback, monkeypatch):
    options = ["--model", "EquilibriumPropagation", *FEW, "--trainer.max_epochs", "1"]
    assert main(["fit", *options, f"--trainer.callbacks+={callback[0]}", *callback[1:]]) == 0
    config = next(Path().rglob("config.yaml"))
    assert parsed(["fit", "--config", str(config)], monkeypatch) == yaml.safe_load(config.read_text())
    checkpoint = torch.load(next(Path().rglob("last.ckpt")), weights_only=True)
    assert yaml.safe_load(checkpoint["run_config"]) == yaml.safe_load(config.read_text())


class Way(Enum):
    UP = "from below"
    DOWN = "from above"


class Word(str, Enum):
    UP = "from below"
    DOWN = "from above"


class Sayable(command_line.Callback):
    """A callback whose defaults are objects that have a form in a file."""

    built: ClassVar[list[dict]] = []

    def __init__(
        self,
        way: Way = Way.UP,
        word: Word | None = Word.UP,
        text: str = Word.UP,
        device: torch.device | str = torch.device("cpu"),  # noqa: B008
        span: timedelta = timedelta(seconds=3),
        where: Path = Path("x"),
        kind: torch.dtype = torch.float64,
    ):
        self.built.append(vars() | {"self": None})


@pytest.mark.parametrize("given", [[], ["--trainer.callbacks.way=DOWN", "--trainer.callbacks.word=DOWN"]])
def test_what_stands_for_an_object_builds_it_again(given, monkeypatch):
    """A member of an enumeration is written by its name where the option is of it, else by what stands for it."""
    path = f"{__name__}.{Sayable.__name__}"
    Sayable.built.clear()
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", f"--trainer.callbacks+={path}", *given]) == 0
    assert main(["fit", "--config", str(next(Path().rglob("config.yaml")))]) == 0
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    first, *others = Sayable.built
    assert first["way"] is (Way.DOWN if given else Way.UP)
    assert first["word"] is (Word.DOWN if given else Word.UP)
    assert first["text"] == "from below"
    assert first["kind"] in (torch.float64, "torch.float64")
    assert others == [first, first]


class Unsayable(command_line.Callback):
    """A callback whose default can't be written down."""

    def __init__(self, thing: object = object()):
        self.thing = thing


class OnADevice(command_line.Callback):
    """A callback whose option takes no text for a device."""

    def __init__(self, device: torch.device = torch.device("cpu")):  # noqa: B008
        self.device = device


@pytest.mark.parametrize("callback", [Unsayable, OnADevice])
def test_a_configuration_that_would_not_read_back_is_refused_before_training(callback, capsys):
    path = f"{__name__}.{callback.__name__}"
    with warnings.catch_warnings(record=True) as caught:
        assert main(["fit", *FEW, "--trainer.max_epochs", "1", f"--trainer.callbacks+={path}"]) == 2
    error = capsys.readouterr().err.strip()
    assert "can't be saved so that it reads back" in error
    assert error.count("\n") == 0
    assert not [warning for warning in caught if "serialize" in str(warning.message)]
    assert not list(Path().rglob("*.ckpt"))


# ------------------------------------------------------------------------------------------------ a user's namesakes


@pytest.mark.parametrize(("part", "other"), [("model", "data"), ("data", "model")])
def test_a_name_without_a_module_is_this_packages_beside_a_users_namesakes(part, other, monkeypatch, tmp_path):
    """In a process of its own, which alone gets to know the namesakes."""
    own = {"model": "Backpropagation", "data": "DigitsDataModule"}
    lines = [f"class {name}(bioplausible.{name}):\n    pass\n" for name in own.values()]
    Path("mine.py").write_text("\n\n".join(["import bioplausible\n", *lines]))
    monkeypatch.syspath_prepend(tmp_path)
    options = ["--config", "digits/backpropagation", f"--{part}", f"mine.{own[part]}", "--trainer.max_steps", "1"]
    assert in_a_process(["fit", *FEW, *options], tmp_path) == 0
    saved = yaml.safe_load(next(Path("lightning_logs").rglob("config.yaml")).read_text())
    assert (saved[part]["class_path"], saved[other]["class_path"]) == (
        f"mine.{own[part]}",
        f"bioplausible.{own[other]}",
    )


# --------------------------------------------------------------------------------------------------- unknown words


@pytest.mark.parametrize("changed", [[], ["--model", "EquilibriumPropagation"], ["--data", "MNIST5000DataModule"]])
def test_a_mistake_in_a_file_is_said_as_such_also_where_a_class_changes(changed, capsys):
    """A file of which something is left out is read as text, which the parser takes for a file's name at last."""
    rule = "{class_path: Backpropagation, init_args: {layer_sizes: [64, 10], loss: cross_entropy}}"
    Path("mine.yaml").write_text(f"model: {rule}\ndata: DigitsDataModule\ntrainer: {{max_epochs: abc}}")
    for source in ("mine.yaml", Path("mine.yaml").read_text()):
        assert main(["fit", "--config", source, *changed]) == 2
        said = capsys.readouterr().err
        assert said == "error: trainer.max_epochs: Expected a int. Got value: abc; --help all lists what there is.\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("fit --trainer.max_epoch 3", "There is no option --trainer.max_epoch: did you mean --trainer.max_epochs?"),
        ("fit --model CorInfoMax --model.epsilom 3", "CorInfoMax has no option epsilom: did you mean epsilon?"),
        ("fit --model Backpropogation", "There is no class Backpropogation: did you mean Backpropagation?"),
        ("fit --model.optimizer Adm", "There is no class Adm: did you mean Adam?"),
        ("fit --trainer.logger.sub_dir x", "RunLogger has no option sub_dir; --help all"),  # its base has
        ("fit --model.optimizer.momentun 1", "SGD has no option momentun: did you mean momentum?"),
        (
            "fit --config digits/corinfomx",
            "There is no file or recipe digits/corinfomx: did you mean digits/corinfomax?",
        ),
        ("fit --config corinfomax", "There is no file or recipe corinfomax: did you mean"),
        ("fit --config a/b/corinfomx.yaml", "config: File does not exist"),
        (
            "fit --config ../elsewhere/configs/digits/corinfomx.yaml",
            "There is no file or recipe ../elsewhere/configs/digits/corinfomx.yaml: did you mean digits/corinfomax?",
        ),
        ("fitt", "There is no command fitt: did you mean fit?"),
        ("--versoin", "There is no command --versoin: did you mean --version?"),
        ("recipes digits/corinfomx", "There is no recipe digits/corinfomx: did you mean digits/corinfomax?"),
        ("recipes zorro", "There is no recipe zorro: recipes without a name lists them."),
        ("benchmark digits/corinfomx", "There is no recipe digits/corinfomx: did you mean digits/corinfomax?"),
        ("sweep --config digits/corinfomx", "There is no recipe digits/corinfomx: did you mean digits/corinfomax?"),
        ("sweep --study digts", "There is no study digts: did you mean digits?"),
        ("fit --data CSVDataModule", "There is no class CSVDataModule: give a name such as DigitsDataModule, or"),
        ("fit --data Backpropogation", "There is no class Backpropogation: give a name such as DigitsDataModule, or"),
        ("fit --data digit", "There is no class digit: did you mean DigitsDataModule?"),
        ("fit --data my.csv", "my.csv is no data module: give it as --data TableDataModule --data.file my.csv."),
        ("fit --data my.npz", "my.npz is no data module: give it as --data ArraysDataModule --data.file my.npz."),
        ("fit --data my.pt", "my.pt is no data module: give it as --data ArraysDataModule --data.file my.pt."),
        ("fit --data /", "/ is no data module: give it as --data ImageFolderDataModule --data.folder /."),
        (
            "fit --data table.csv",
            "table.csv is no data module: give it as --data TableDataModule --data.file table.csv.",
        ),
        ("fit --data fashionmnist", "There is no class fashionmnist: did you mean FashionMNISTDataModule?"),
        ("fit --model corinfomax", "There is no class corinfomax: did you mean CorInfoMax?"),
        ("fit --trainer.loger CSVLogger", "There is no option --trainer.loger: did you mean --trainer.logger?"),
        ("fit --seed 3", "There is no option --seed: did you mean --seed_everything?"),
        ("fit --model CorInfoMax --model.initialization x", "CorInfoMax has no option initialization; --help all"),
        (
            "fit --model CorInfoMax --model.step_size_rule constnt",
            "model.step_size_rule is constnt: did you mean const",
        ),
        (
            "fit --model Backpropagation --model.loss hinge",
            "model.loss is hinge: choose mean_squared_error, cross_entropy or binary_cross_ent",
        ),
        ("fit --trainer.precision 32-tru", "trainer.precision is 32-tru: did you mean 32-true?"),
        ("fit --trainer.precision 8", "trainer.precision is 8: choose 64, 32,"),
        ("fit --model Zorro", "There is no class Zorro: give a name such as"),
        ("fit --trainer.max-epochs 3", "There is no option --trainer.max-epochs: did you mean --trainer.max_epochs?"),
        ("fit --trainer.max_ep 3", "There is no option --trainer.max_ep: did you mean --trainer.max_epochs?"),
        ("fit --model.optimizer.lr abc", "model.optimizer.lr: Expected a float. Got value: abc"),
        ("fit --model.optimizer.lr sgd", "model.optimizer.lr: Expected a float. Got value: sgd"),
        ("fit --trainer.callbacks EarlyStopping", "trainer.callbacks: EarlyStopping needs monitor"),
        ("fit --trainer.callbacks+=EarlyStopping", "trainer.callbacks: EarlyStopping needs monitor"),
        ("fit --config ~nobody_here/x.yaml", "A path begins with ~ and a name that no user"),
        ("fit --config http://127.0.0.1:9/x.yaml", "http://127.0.0.1:9/x.yaml is no file of this machine"),
        ("fit --trainer.zzz 3", "unrecognized arguments: --trainer.zzz 3"),
    ],
)
def test_a_typing_mistake_is_answered_with_what_was_meant(args, said, capsys):
    assert main(args.split()) == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")


def test_version_and_recipes(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("bioplausible ")
    assert main(["recipes"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == [f"{path.parent.name}/{path.stem}" for path in all_recipes()]
    assert main(["recipes", "digits/corinfomax"]) == 0
    assert capsys.readouterr().out == (recipes() / "digits/corinfomax.yaml").read_text()
    assert main(["recipes", "digits/none"]) == 2


@pytest.mark.parametrize("name", ["pictures", "table"])  # the package has a module of the second name
def test_a_folder_given_as_data_is_answered_with_the_module_that_reads_it(name, capsys):
    Path(name).mkdir()
    assert main(["fit", "--data", name]) == 2
    assert f"give it as --data ImageFolderDataModule --data.folder {name}." in capsys.readouterr().err
