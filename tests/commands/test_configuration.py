"""However a setting is given, the run is the same; and the settings of one class are not those of another."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bioplausible.__main__ import main
from bioplausible.commands import command_line
from bioplausible.commands.configuration import consistent, sources
from bioplausible.commands.recipes import recipe_of, recipes
from tests.helpers import FEW

# ------------------------------------------------------------------------------- every form of every option is the same


class Parsed(Exception):  # noqa: N818 - no error
    """Carries a configuration out of the command line before anything is built."""


def parsed(args, monkeypatch):
    """Returns the configuration that a command's options come to, without building anything of it."""

    def stop(command):
        config = command.config[command.subcommand].clone()
        config.pop("config", None)
        raise Parsed(yaml.safe_load(command.parser.dump(command.config, skip_none=False))[command.subcommand])

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
@pytest.mark.parametrize(
    "rule",
    [
        "Backpropagation",
        "ContrastiveSimilarityMatching",
        "CorInfoMax",
        "CorInfoMaxSparse",
        "DirectFeedbackAlignment",
        "EquilibriumPropagation",
        "FeedbackAlignment",
        "NudgedPredictiveCoding",
        "PredictiveCoding",
    ],
)
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
    assert logger["init_args"]["name"] == "lightning_logs"  # TensorBoardLogger's default
    logger = parsed(["fit", "--trainer.logger", "CSVLogger"], monkeypatch)["trainer"]["logger"]
    assert logger["init_args"] == {  # nothing of RunLogger's
        "save_dir": "lightning_logs",
        "name": "lightning_logs",
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


def test_default_root_dir_holds_the_runs(capsys):
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", "--trainer.default_root_dir", "elsewhere"]) == 0
    assert [path.name for path in Path().iterdir()] == ["elsewhere"]
    assert list(Path("elsewhere/lightning_logs").rglob("last.ckpt"))
    options = ["--trainer.default_root_dir", "elsewhere", "--trainer.enable_progress_bar", "false"]
    assert main(["test", "--ckpt_path", "last", *options]) == 0


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


class Unsayable(command_line.Callback):
    """A callback whose default can't be written down."""

    def __init__(self, thing: object = object()):
        self.thing = thing


def test_a_configuration_that_would_not_read_back_is_refused_before_training(capsys):
    path = f"{__name__}.{Unsayable.__name__}"
    assert main(["fit", *FEW, "--trainer.max_epochs", "1", f"--trainer.callbacks+={path}"]) == 2
    assert "can't be saved so that it reads back" in capsys.readouterr().err
    assert not list(Path().rglob("*.ckpt"))


# --------------------------------------------------------------------------------------------------- unknown words


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ("fit --trainer.max_epoch 3", "There is no option --trainer.max_epoch: did you mean --trainer.max_epochs?"),
        ("fit --model CorInfoMax --model.epsilom 3", "CorInfoMax has no option epsilom: did you mean epsilon?"),
        ("fit --model Backpropogation", "There is no class Backpropogation: did you mean Backpropagation?"),
        ("fit --model.optimizer Adm", "There is no class Adm: did you mean Adam?"),
        ("fit --model.optimizer.momentun 1", "SGD has no option momentun: did you mean momentum?"),
        (
            "fit --config digits/corinfomx",
            "There is no file or recipe digits/corinfomx: did you mean digits/corinfomax?",
        ),
        ("fitt", "There is no command fitt: did you mean fit?"),
        ("fit --model Zorro", "There is no class Zorro: give a name such as"),
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
    assert [line.split()[0] for line in listed] == [
        f"{path.parent.name}/{path.stem}" for path in sorted(recipes().glob("*/*.yaml"))
    ]
    assert main(["recipes", "digits/corinfomax"]) == 0
    assert capsys.readouterr().out == (recipes() / "digits/corinfomax.yaml").read_text()
    assert main(["recipes", "digits/none"]) == 2
