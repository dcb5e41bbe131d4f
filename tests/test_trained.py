"""A trained network is loaded as it was trained. Oracles: the run's own Trainer, and what it logged."""

import gc
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pytorch_lightning import Trainer
from torch.optim import SGD, Adam
from torch.optim.lr_scheduler import LambdaLR, StepLR
from torch.utils.data import DataLoader, TensorDataset

import bioplausible
from bioplausible import (
    ArraysDataModule,
    Backpropagation,
    CorInfoMax,
    DigitsDataModule,
    FeedbackAlignment,
    LearningRule,
    TableDataModule,
    UserError,
)
from bioplausible.__main__ import main
from bioplausible.trained import checkpoint_of
from tests.helpers import RUN, all_rules, batch, scalars

QUIET = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
FIT = ["fit", "--trainer.enable_progress_bar", "false", "--data.init_args.subset_size", "120", "--trainer.max_epochs"]
FILE = "made.ckpt"


def made(rule, data=None, loader=None, **options) -> Path:
    """Trains a rule for two batches from Python, and returns the checkpoint."""
    trainer = Trainer(enable_checkpointing=False, max_steps=2, **QUIET, **options)
    trainer.fit(rule, loader, datamodule=data)
    trainer.save_checkpoint(FILE)
    return Path(FILE)


def digits(**options) -> DigitsDataModule:
    return DigitsDataModule(subset_size=60, validation_split=0.2, evaluation_batch_size=7, **options)


def same(one: LearningRule, other: LearningRule) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a if torch.is_tensor(a[k]))


# ------------------------------------------------------------------------------------------------ of the command line


@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_run_of_the_command_line_scores_what_it_logged(precision):
    rate = ["--model.lr_scheduler", "StepLR", "--model.lr_scheduler.step_size", "1", "--model.beta", "0.7"]
    assert main([*FIT, "2", *rate, "--trainer.precision", precision]) == 0
    rule, data = bioplausible.load(RUN)
    assert type(rule) is CorInfoMax
    assert not rule.training
    assert rule.hparams["beta"] == 0.7
    assert rule.dtype == {"32-true": torch.float32, "64-true": torch.float64}[precision]
    assert (type(data), data.subset_size) == (DigitsDataModule, 120)
    data.setup("test")
    found = [rule.predict_step((batch.images.to(rule.dtype), batch.labels)) for batch in data.test_dataloader()]
    accuracy = sum(float((f["prediction"] == f["label"]).sum()) for f in found) / len(data.load(False)[1])
    assert accuracy == pytest.approx(scalars(RUN)["test/accuracy"][-1][1])
    optimizer = rule.optimizer(rule.parameter_groups())
    assert type(optimizer) is SGD
    assert isinstance(rule.lr_scheduler(optimizer), StepLR)


def test_all_names_of_a_run_mean_it_and_best_is_best():
    assert main([*FIT, "3"]) == 0
    shutil.copytree(RUN, RUN.with_name("version_1"))
    assert main([*FIT, "1", "--seed_everything", "5"]) == 0
    newer = RUN.with_name("version_2") / "checkpoints/last.ckpt"
    files = RUN / "checkpoints"
    assert checkpoint_of("last") == checkpoint_of("lightning_logs") == checkpoint_of(RUN.parent) == newer
    assert checkpoint_of(RUN) == checkpoint_of(str(files)) == checkpoint_of(files / "last.ckpt") == files / "last.ckpt"
    assert checkpoint_of(RUN, "best") == files / "best.ckpt"
    shutil.copy(files / "previous.ckpt", files / "best.ckpt")  # the best may have been the last
    state = {name: torch.load(files / f"{name}.ckpt", weights_only=True)["state_dict"] for name in ("last", "best")}
    assert not torch.equal(*(s["network.wiring.1.weight"] for s in state.values()))
    for name, weights in state.items():
        assert torch.equal(
            bioplausible.load(RUN, name).rule.network.wiring["1"].weight, weights["network.wiring.1.weight"]
        )
    (files / "best.ckpt").unlink()
    with pytest.raises(UserError, match=r"There is no .*best.ckpt.*choose last"):
        bioplausible.load(RUN, "best")
    with pytest.raises(UserError, match="which is 'newest': choose last or best"):
        bioplausible.load(RUN, "newest")


def test_what_the_command_line_trained_with_and_is_not_there_is_named(monkeypatch):
    Path("mine.py").write_text("from bioplausible import Backpropagation\nclass Mine(Backpropagation):\n    pass\n")
    monkeypatch.syspath_prepend(str(Path.cwd()))
    assert main([*FIT, "1", "--model", "mine.Mine", "--model.layer_sizes", "[64, 10]"]) == 0
    run = Path("lightning_logs/digits/mine/version_0")
    assert type(bioplausible.load(run).rule).__name__ == "Mine"
    Path("mine.py").unlink()
    monkeypatch.delitem(sys.modules, "mine")
    with pytest.raises(
        UserError, match=r"last.ckpt was trained with can't be built here \(model: No module named 'mine'\)"
    ):
        bioplausible.load(run)


def test_an_unknown_run_is_answered_with_those_that_there_are():
    with pytest.raises(UserError, match="There is no run or checkpoint version_7: train first"):
        bioplausible.load("version_7")
    for rule, versions in (("corinfomax", 5), ("backpropagation", 1)):
        for i in range(versions):
            file = Path(f"lightning_logs/digits/{rule}/version_{i}/checkpoints/last.ckpt")
            file.parent.mkdir(parents=True)
            file.touch()
    for name, expected in (
        ("lightning_logs/digits/corinfomax/version_9", "corinfomax"),
        ("corinfomax", "corinfomax"),
        ("backpropagation/version_0/", "backpropagation"),
        ("nonsense", "version_"),
    ):
        with pytest.raises(UserError) as refused:
            bioplausible.load(name)
        named = str(refused.value).rpartition("such as ")[2].removesuffix(".").split(", ")
        assert 1 <= len(named) <= 3
        assert all(expected in one and Path(one).is_dir() for one in named)


def test_a_file_that_is_no_checkpoint_is_named():
    Path("notes.txt").write_text("nothing")
    with pytest.raises(UserError, match=r"notes.txt is no readable checkpoint"):
        bioplausible.load("notes.txt")


# -------------------------------------------------------------------------------------------------------- from Python


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_every_rule_that_was_trained_from_python_is_the_same_again(cls):
    options = {"dual_step_sizes": {1: 0.01, 2: 0.02}} if cls.__name__ == "CorInfoMaxSparse" else {}
    rule, data = cls([64, 8, 10], **options), digits(crop_padding=1)
    loaded = bioplausible.load(made(rule, data))
    assert type(loaded.rule) is cls
    assert same(loaded.rule, rule)
    assert str(loaded.rule) == str(rule)
    assert dict(loaded.data.hparams) == dict(data.hparams)
    images = data.prepared(data.load(False)[0][:20])
    rule.eval()
    with torch.no_grad():
        for mine, its in zip(rule.activity(images), loaded.rule.activity(images), strict=True):
            assert torch.equal(mine, its)


def test_optimizer_and_schedule_of_python_are_kept_or_said_to_be_unknown(recwarn):
    told = {"optimizer": partial(SGD, lr=0.3, momentum=0.5), "lr_scheduler": partial(StepLR, step_size=3)}
    rule, _ = bioplausible.load(made(Backpropagation([64, 8, 10], **told), digits()))
    built = rule.optimizer(rule.parameters())
    assert (type(built), built.defaults["lr"], built.defaults["momentum"]) == (SGD, 0.3, 0.5)
    assert rule.lr_scheduler(built).step_size == 3
    assert not [w for w in recwarn if "doesn't say" in str(w.message)]

    class OwnAdam(Adam):
        pass

    path = made(Backpropagation([64, 8, 10], optimizer=partial(OwnAdam, lr=0.3)), digits())
    with pytest.warns(UserWarning, match=r"made.ckpt doesn't say all of its optimizer \(.*OwnAdam\)"):
        bioplausible.load(path)


def test_a_schedule_of_functions_is_said_to_be_unknown_with_its_interval(recwarn):
    rule = Backpropagation(
        [64, 8, 10], lr_scheduler=partial(LambdaLR, lr_lambda=lambda step: 0.5), lr_scheduler_interval="step"
    )
    with pytest.warns(UserWarning, match=r"doesn't say all of its lr_scheduler \(.*LambdaLR\)"):
        loaded, _ = bioplausible.load(made(rule, digits()))
    assert loaded.lr_scheduler is None
    assert same(loaded, rule)


def test_where_no_data_module_is_known_there_is_none():
    x, y, _ = batch([64, 8, 10], n=40)
    loader = DataLoader(TensorDataset(x.float(), y), batch_size=20)
    assert bioplausible.load(made(Backpropagation([64, 8, 10]), loader=loader)).data is None


def own_classes():
    """Returns a rule and a data module of a user's own, which a notebook may make anew."""

    class NotebookRule(Backpropagation):
        def __init__(self, layer_sizes, table=None):
            super().__init__(layer_sizes)

    class NotebookData(DigitsDataModule):
        pass

    return NotebookRule, NotebookData


def test_classes_of_ones_own_are_found_where_they_are_imported():
    rule_class, data_class = own_classes()
    table = torch.arange(3)  # which no configuration file could say
    path = made(rule_class([64, 8, 10], table=table), data_class(subset_size=60))
    rule, data = bioplausible.load(path)
    assert (type(rule), type(data)) == (rule_class, data_class)
    assert torch.equal(rule.hparams["table"], table)
    newer = own_classes()
    rule, data = bioplausible.load(path)
    assert (type(rule), type(data)) == newer

    other = type("NotebookRule", (FeedbackAlignment,), {"__module__": "elsewhere"})
    with pytest.raises(UserError, match="Several classes are called NotebookRule"):
        bioplausible.load(path)
    del other, newer, rule_class, data_class, rule, data
    gc.collect()
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["training_data"]["dataset"] = "Gone"
    torch.save(checkpoint, "data_gone.ckpt")
    checkpoint["learning_rule"]["name"] = "GoneToo"
    torch.save(checkpoint, "rule_gone.ckpt")
    with pytest.raises(UserError, match="of the rule GoneToo, whose class is not imported: import it"):
        bioplausible.load("rule_gone.ckpt")


def test_data_of_a_class_that_is_not_imported_are_none_and_said_to_be():
    path = made(Backpropagation([64, 8, 10]), digits())
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["training_data"]["dataset"] = "Gone"
    torch.save({k: v for k, v in checkpoint.items() if k != "checksum"}, "gone.ckpt")
    with pytest.warns(UserWarning, match="trained on Gone, whose class is not imported"):
        assert bioplausible.load("gone.ckpt").data is None


def test_a_network_of_functions_can_t_be_told():
    layers = [[1, 8, 8], lambda shape, **options: bioplausible.network.Dense(shape, 8, **options), 10]
    path = made(Backpropagation(network=layers), digits())
    with pytest.raises(UserError, match=r"doesn't hold its network.*Backpropagation.load_from_checkpoint"):
        bioplausible.load(path)


# ------------------------------------------------------------------------------------------------------ what stays


def test_random_numbers_go_on_as_if_nothing_had_been_loaded():
    path = made(CorInfoMax([64, 8, 10]), digits())
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    bioplausible.load(path)
    assert torch.equal(torch.rand(4), expected)


def test_a_loaded_rule_trains_on_as_the_run_would():
    rule, data = CorInfoMax([64, 8, 10], optimizer=partial(SGD, momentum=0.5)), digits()
    path = made(rule, data)
    kept = path.read_bytes()

    def end(rule, data):
        path.write_bytes(kept)
        trainer = Trainer(enable_checkpointing=False, max_steps=5, **QUIET)
        trainer.fit(rule, data, ckpt_path=path)
        return rule

    whole = end(CorInfoMax([64, 8, 10], optimizer=partial(SGD, momentum=0.5)), digits())
    path.write_bytes(kept)
    assert same(end(*bioplausible.load(path)), whole)


def test_importing_the_package_imports_no_torch():
    code = "import bioplausible, sys; print('torch' in sys.modules); bioplausible.load; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["False", "True"]


def test_a_rule_is_loaded_without_its_data_where_their_file_has_moved(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("set.npz", x=np.random.default_rng(0).random((30, 5)), y=np.arange(30) % 3)
    fit = ["fit", "--data", "ArraysDataModule", "--data.file", "set.npz", "--model", "Backpropagation"]
    assert main([*fit, "--model.layer_sizes", "[4]", "--trainer.max_epochs", "1"]) == 0
    there, data = bioplausible.load("last")
    assert isinstance(data, ArraysDataModule)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    with pytest.warns(UserWarning, match=r"set\.npz can't be read .*so they are None: build ArraysDataModule yourself"):
        here, data = bioplausible.load("../lightning_logs")
    assert data is None
    x = torch.rand(6, 5)
    assert torch.equal(here(x), there(x))


def test_a_run_from_python_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("set.npz", x=np.random.default_rng(0).random((30, 5)), y=np.arange(30) % 3)
    path = made(Backpropagation([5, 4, 3]), ArraysDataModule("set.npz"))
    Path("set.npz").rename("moved.npz")
    with pytest.warns(UserWarning, match=r"set\.npz can't be read .*so they are None"):
        _, data = bioplausible.load(path)
    assert data is None


@pytest.mark.parametrize("kind", ["classes", "columns"])
@pytest.mark.parametrize("how", ["python", "command line"])
def test_data_that_have_other_names_by_now_are_none(how, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    values, labels = np.random.default_rng(0).random((30, 2)), [f"{'ab'[i % 2]}" for i in range(30)]

    def write(columns, names):
        given = [names["ab".index(label)] for label in labels]
        lines = [[*columns, "kind"], *([*row, label] for row, label in zip(values.tolist(), given, strict=True))]
        Path("set.csv").write_text("\n".join(",".join(map(str, line)) for line in lines))

    write(["length", "width"], "ab")
    if how == "python":
        run = made(Backpropagation([2, 2]), TableDataModule("set.csv"))
    else:
        run = "last"
        fit = ["fit", "--data", "TableDataModule", "--data.file", "set.csv", "--model", "Backpropagation"]
        assert main([*fit, "--model.layer_sizes", "[2, 2]", "--trainer.max_epochs", "1"]) == 0
    before, data = bioplausible.load(run)
    assert isinstance(data, TableDataModule)
    write(*((["width", "length"], "ab") if kind == "columns" else (["length", "width"], "ac")))
    said = {
        "columns": "columns length, width, and the data have width, length",
        "classes": "a, b, and the data have a, c",
    }
    with pytest.warns(
        UserWarning, match=rf"others by now \(The network was trained on .*{said[kind]}.*so they are None"
    ):
        rule, data = bioplausible.load(run)
    assert data is None
    assert same(rule, before)


OWN_DATA = """
from pathlib import Path
from bioplausible import DigitsDataModule

class Own(DigitsDataModule):
    def __init__(self, file: str, **options):
        Path(file).read_text()
        super().__init__(**options)
"""


def test_whatever_a_data_module_of_ones_own_raises_the_rule_is_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_data_that_reads.py").write_text(OWN_DATA)
    Path("there.txt").touch()
    fit = ["fit", "--data", "own_data_that_reads.Own", "--data.file", "there.txt", "--model", "Backpropagation"]
    assert main([*fit, "--model.layer_sizes", "[64, 10]", "--trainer.max_epochs", "1"]) == 0
    Path("there.txt").unlink()
    with pytest.warns(UserWarning, match="so they are None: build Own yourself"):
        rule, data = bioplausible.load("last")
    assert (type(rule), data) == (Backpropagation, None)
