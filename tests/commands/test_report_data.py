"""Runs on other data than each other's are never seeds of one setting, even where the files have the same name."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from pytorch_lightning import Trainer, seed_everything
from torch.utils.data import DataLoader, TensorDataset

from bioplausible import (
    ArraysDataModule,
    Backpropagation,
    FashionMNISTDataModule,
    ImageDataModule,
    UserError,
)
from bioplausible.__main__ import main
from bioplausible.commands.sweep.checks import require_same_images
from bioplausible.commands.sweep.trials import trials
from bioplausible.training.loggers import RunLogger
from tests.helpers import write_idx

FIT = ["fit", "--model", "Backpropagation", "--model.layer_sizes", "[8]", "--data", "ArraysDataModule"]
FIT += ["--data.file", "set.npz", "--trainer.enable_progress_bar", "false", "--threads", "1"]


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


OF_ONE_CLASS = {"y_test": np.ones(12, dtype=int)}
"""Whatever a network predicts, its accuracy is another one than that of three balanced classes."""


def write(seed=0, images=0, folder=".", **changed):
    """Writes set.npz, whose training and test part have classes and images of these seeds."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    parts = {
        f"{name}_{part}": draw
        for part, n in (("train", 24), ("test", 12))
        for name, draw in (
            ("x", np.random.default_rng([images, n]).random((n, 5))),
            ("y", np.random.default_rng([seed, n]).permutation(np.arange(n) % 3)),
        )
    }
    np.savez(folder / "set.npz", **{**parts, **changed})


def fit(seed, folder=".", epochs=1):
    here = Path.cwd()
    os.chdir(folder)
    assert main([*FIT, "--seed_everything", str(seed), "--trainer.max_epochs", str(epochs)]) == 0
    os.chdir(here)


def settings(*folders):
    """Returns seeds, title and accuracy of each setting."""
    assert main(["report", *folders]) == 0
    with Path("report/settings.csv").open() as file:
        return [(row["seeds"], row["rule"], row["test_accuracy_mean"]) for row in csv.DictReader(file)]


def test_the_same_file_is_one_setting_wherever_it_lies():
    write(folder="a")
    write(folder="b")
    fit(1, "a")
    fit(2, "b")
    assert [seeds for seeds, _, _ in settings("a", "b")] == ["1 2"]


@pytest.mark.parametrize("other", [{"seed": 1}, {"images": 1}], ids=["classes", "images"])
def test_two_files_of_one_name_are_two_settings(other):
    write(folder="a")
    write(folder="b", **other)
    fit(1, "a")
    fit(2, "b")
    (one, first, _), (two, second, _) = settings("a", "b")
    assert {one, two} == {"1", "2"}
    assert "training_digest=" in first
    assert "test_digest=" in second
    assert first != second


def test_a_file_that_was_mended_between_two_seeds_makes_two_settings():
    write()
    fit(1)
    write(seed=1)
    fit(2)
    assert {seeds for seeds, _, _ in settings("lightning_logs")} == {"1", "2"}


def test_another_test_part_alone_makes_two_settings():
    write()
    fit(1)
    write(y_test=np.arange(12) % 3)
    fit(2)
    found = settings("lightning_logs")
    assert len(found) == 2
    assert all("test_digest=" in title and "training_digest=" not in title for _, title, _ in found)


def test_a_run_that_went_on_with_other_images_says_so():
    write()
    for seed in (1, 2):
        fit(seed)
    write(images=1)
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    last = str(run / "checkpoints/last.ckpt")
    with pytest.warns(UserWarning, match="other images than the checkpoint's"):
        assert main(["fit", "--ckpt_path", last, "--trainer.max_epochs", "2"]) == 0
    (entry,) = yaml.safe_load((run / "resumed.yaml").read_text())
    digest = ArraysDataModule("set.npz")
    digest.setup("fit")
    assert entry["changed"] == {"max_epochs": 2, "training_digest": digest.content}
    assert "training_digest" in {seeds: title for seeds, title, _ in settings("lightning_logs")}["1"]


def test_a_later_test_on_other_images_takes_no_result_s_place():
    write()
    for seed in (1, 2):
        fit(seed)
    before = settings("lightning_logs")
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    test = ["test", "--ckpt_path", str(run / "checkpoints/last.ckpt")]
    assert main(test) == 0  # the same ones
    write(**OF_ONE_CLASS)
    with pytest.warns(UserWarning, match="This is not counted: the test images are not those on which the run in"):
        assert main(test) == 0
    assert settings("lightning_logs") == before


def test_what_is_tested_later_alone_notes_its_images():
    write()
    assert main([*FIT, "--seed_everything", "1", "--trainer.max_epochs", "1", "--trainer.limit_test_batches", "0"]) == 0
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    assert "test_digest" not in (run / "environment.yaml").read_text()
    assert main(["test", "--ckpt_path", "last"]) == 0
    noted = (run / "environment.yaml").read_text()
    assert "test_digest" in noted
    write(y_test=np.arange(12) % 3)
    with pytest.warns(UserWarning, match="This is not counted"):
        assert main(["test", "--ckpt_path", "last"]) == 0
    assert (run / "environment.yaml").read_text() == noted


def test_a_run_that_went_on_is_scored_on_what_there_is_then():
    write()
    fit(1)
    write(y_test=np.arange(12) % 3)
    assert main(["fit", "--ckpt_path", "last", "--trainer.max_epochs", "2"]) == 0
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    data = ArraysDataModule("set.npz")
    data.setup("test")
    assert yaml.safe_load((run / "environment.yaml").read_text())["test_digest"] == data.test_content


def as_earlier(run):
    """Makes a run one of an earlier version: of its images its checkpoint alone tells."""
    for name in ("hparams.yaml", "environment.yaml"):
        noted = yaml.safe_load((run / name).read_text())
        kept = {key: value for key, value in noted.items() if not key.endswith("_digest")}
        assert kept != noted
        (run / name).write_text(yaml.safe_dump(kept))


@pytest.mark.parametrize("others", [False, True])
def test_a_run_of_an_earlier_version_goes_on_as_it_was(others):
    write()
    fit(1)
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    as_earlier(run)
    write(images=int(others))
    assert main(["fit", "--ckpt_path", str(run / "checkpoints/last.ckpt"), "--trainer.max_epochs", "2"]) == 0
    (entry,) = yaml.safe_load((run / "resumed.yaml").read_text())
    assert entry["changed"].pop("max_epochs") == 2
    assert list(entry["changed"]) == ["training_digest"] * others


def test_a_run_of_an_earlier_version_is_a_seed_of_the_setting_that_it_has():
    write()
    for seed in (1, 2):
        fit(seed)
    (run,) = Path("lightning_logs").glob("*/*/version_0")
    as_earlier(run)
    assert [seeds for seeds, _, _ in settings("lightning_logs")] == ["1 2"]
    assert main(["test", "--ckpt_path", str(run / "checkpoints/last.ckpt")]) == 0
    assert "test_digest" not in (run / "environment.yaml").read_text()  # it was scored before, nobody knows on what
    write(seed=1)
    fit(3)
    assert len(settings("lightning_logs")) == 3


def test_another_part_for_validation_alone_makes_two_settings():
    x = np.random.default_rng(0).random((6, 5))
    for seed in (1, 2):
        write(x_val=x * seed, y_val=np.arange(6) % 3)
        fit(seed)
    found = settings("lightning_logs")
    assert len(found) == 2
    assert all("validation_digest=" in title and "training_digest=" not in title for _, title, _ in found)


def test_different_images_of_two_rules_are_said():
    write()
    fit(1)
    write(images=1)
    assert main([*FIT, "--model", "FeedbackAlignment", "--seed_everything", "1", "--trainer.max_epochs", "1"]) == 0
    settings("lightning_logs")
    text = Path("report/report.md").read_text()
    assert "They differ in more than rule and rates: test_digest, training_digest" in text


WEB = """
from pytorch_lightning.loggers import Logger

class Web(Logger):
    save_dir, name = "web", "runs"

    def __init__(self, version: str) -> None:
        super().__init__()
        self.chosen = version

    @property
    def version(self):
        return self.chosen

    def log_metrics(self, metrics, step=None):
        pass

    def log_hyperparams(self, params, *args, **kwargs):
        pass
"""
"""A logger as W&B's: it has no folder of its own for each run."""


def quiet(logger, **options):
    return Trainer(max_epochs=1, logger=logger, enable_progress_bar=False, enable_model_summary=False, **options)


def train(data, logger, seed=0):
    trainer = quiet(logger)
    seed_everything(seed, verbose=False)
    rule = Backpropagation([5, 4, 3])
    trainer.fit(rule, data)
    return trainer, rule


def test_a_first_logger_without_a_folder_for_each_run_hides_no_images(monkeypatch):
    monkeypatch.syspath_prepend(".")
    Path("own_log.py").write_text(WEB)
    for seed in (1, 2):
        write(seed=seed)
        logger = ["--trainer.logger", f"{{class_path: own_log.Web, init_args: {{version: run{seed}}}}}"]
        logger += ["--trainer.logger+=CSVLogger", "--trainer.logger.save_dir", "csv"]
        assert main([*FIT, *logger, "--seed_everything", str(seed), "--trainer.max_epochs", "1"]) == 0
    assert len(list(Path("web").rglob("environment.yaml"))) == 2
    assert len(settings(".")) == 2


def test_what_is_scored_on_loaders_of_its_own_has_no_digest_of_the_data_module():
    write()
    data = ArraysDataModule("set.npz")
    trainer, rule = train(data, RunLogger("logs"))
    trainer.test(rule, dataloaders=DataLoader(TensorDataset(torch.rand(9, 5), torch.arange(9) % 3)), verbose=False)
    noted = yaml.safe_load(Path(trainer.log_dir, "environment.yaml").read_text())
    assert "test_digest" not in noted
    assert noted["training_digest"] == data.content


@pytest.mark.parametrize("by", ["the same Trainer", "another Trainer", "loaders"])
def test_a_second_test_from_python_takes_no_result_s_place(by):
    write()
    data = ArraysDataModule("set.npz")
    trainer, rule = train(data, RunLogger("logs"))
    for _ in range(2):
        trainer.test(rule, data, verbose=False)
    write(**OF_ONE_CLASS)
    if by == "another Trainer":
        trainer = quiet(RunLogger("logs", trainer.logger.name, "version_0"))
    loader = DataLoader(TensorDataset(torch.rand(9, 5), torch.ones(9, dtype=torch.long)))
    given = {"dataloaders": loader} if by == "loaders" else {"datamodule": ArraysDataModule("set.npz")}
    before = settings("logs")
    with pytest.warns(UserWarning, match="This is not counted"):
        trainer.test(rule, verbose=False, **given)
    assert settings("logs") == before
    write()
    trainer.test(rule, ArraysDataModule("set.npz"), verbose=False)  # which is logged again
    events = len(list(Path("logs").rglob("events*")))
    assert events >= 2
    assert settings("logs") == before


RECIPE = """
model: {class_path: Backpropagation, init_args: {layer_sizes: [5, 4, 3]}}
data: {class_path: ArraysDataModule, init_args: {file: set.npz}}
trainer: {max_epochs: 1}
"""


def test_a_sweep_averages_and_compares_no_trials_on_other_images():
    write()
    Path("own").mkdir()
    Path("own/recipe.yaml").write_text(RECIPE)
    every = trials(
        Path("own/recipe.yaml"), [1, 2], {"model.loss": ["cross_entropy", "mean_squared_error"]}, Path("out"), 1
    )
    for trial in every[:2]:
        assert main(["fit", *trial.arguments]) == 0
    require_same_images(every)  # the others are not trained yet
    write(y_test=np.arange(12) % 3)
    assert main(["fit", *every[2].arguments]) == 0
    with pytest.raises(UserError, match=r"seed=1,.* and .*seed=2,.* have other images \(data\.test_digest\)"):
        require_same_images(every)
    batch = trials(Path("own/recipe.yaml"), [1], {"data.batch_size": ["4"]}, Path("out"), 1)
    require_same_images([*every[:2], *batch])
    Path("own/other.yaml").write_text(RECIPE.replace("Backpropagation", "FeedbackAlignment"))
    (other,) = trials(Path("own/other.yaml"), [1], {}, Path("out"), 1)
    assert main(["fit", *other.arguments]) == 0
    with pytest.raises(UserError, match="own/other"):
        require_same_images([*every[:2], other])


class Drawn(ImageDataModule):
    """A data module of a user's own."""

    image_shape = (1, 2, 2)
    num_classes = 2

    def __init__(self, drawn=0, **options):
        self.drawn = drawn
        super().__init__(**options)

    def load(self, train):
        images = torch.rand(20, 1, 2, 2, generator=torch.Generator().manual_seed(self.drawn))
        return images, torch.arange(20) % 2


@pytest.mark.parametrize("asked", [False, True])
def test_a_data_module_of_ones_own_is_told_apart_where_it_says_so(asked, monkeypatch):
    """What it loads may depend on the seed, so that no two runs would be seeds of one setting."""
    monkeypatch.setattr(Drawn, "has_digest", asked)
    for seed in (0, 1):
        data = Drawn()
        data.drawn = seed  # as a file that changes without an option
        trainer = Trainer(max_epochs=1, logger=RunLogger("logs"), enable_progress_bar=False, enable_model_summary=False)
        seed_everything(seed, verbose=False)
        rule = Backpropagation([4, 3, 2])
        trainer.fit(rule, data)
        trainer.test(rule, data, verbose=False)
    assert {seeds for seeds, _, _ in settings("logs")} == ({"0", "1"} if asked else {"0 1"})


@pytest.mark.filterwarnings("ignore:.*not as published")
def test_files_that_are_not_as_published_have_a_digest(tmp_path, monkeypatch):
    write_idx(tmp_path / "mirror")
    data = FashionMNISTDataModule(str(tmp_path / "data"), mirror=str(tmp_path / "mirror"))
    monkeypatch.setattr(FashionMNISTDataModule, "sizes", {True: 40, False: 20})
    data.prepare_data()
    data.setup("fit")
    data.setup("test")
    assert None not in (data.content, data.test_content)
