"""Bayesian search and early stopping: seeds compared as one, what was found before, what is stopped."""

import csv
from pathlib import Path

import pytest
import yaml

from bioplausible.__main__ import main
from bioplausible.commands.sweep import seeds, tuning
from bioplausible.commands.sweep.running import NOTE, OUTCOME, is_finished, outcome
from bioplausible.commands.sweep.search import candidate, candidates, epochs_of
from bioplausible.commands.sweep.study import EarlyStopping
from bioplausible.commands.sweep.study_file import read_study

STUDY = {
    "recipes": {
        "digits/backpropagation": {
            "space": {
                "model.optimizer.init_args.lr": {"loguniform": [1e-5, 1e-1]},
                "model.layer_sizes": [64, {"integer": [20, 100]}, {"choice": [10]}],
            }
        }
    },
    "seeds": [0, 10],
    "options": {"trainer.max_epochs": 4},
    "search": {"trials": 8, "sampler": "bayesian", "seed": 3, "early_stopping": {"reduction_factor": 2}},
}


def study(**changed):
    Path("study.yaml").write_text(yaml.safe_dump({**STUDY, **changed}, sort_keys=False))
    return read_study(Path("study.yaml"))


def drawn(rate, width=50):
    return {"model.optimizer.init_args.lr": rate, "model.layer_sizes[1]": width, "model.layer_sizes[2]": 0}


def begin(given, number, rate, accuracy=None):
    """Leaves what a candidate would that was begun, and finished where it has an accuracy."""
    one = candidate(given, given.recipes[0], number, drawn(rate), Path("out"), 1)
    for trial in one.trials:
        Path(trial.folder).mkdir(parents=True)
        (Path(trial.folder) / NOTE).write_text(yaml.safe_dump(trial.what))
        if accuracy is not None:
            text = yaml.safe_dump({"accuracy": accuracy, "best_accuracy": accuracy})
            (Path(trial.folder) / OUTCOME).write_text(text)
    return one


class Process:
    """A trial's process that logs an epoch each time one waits for it."""

    curves: dict = {}  # noqa: RUF012
    failing: tuple = ()

    def __init__(self, trial):
        self.trial, self.epochs, self.told = trial, 0, False

    def wait(self, timeout):
        seed = self.trial.what["seed"]
        self.epochs += 1 + (seed > 0)  # one is faster
        logged[seed] = self.curves[seed][: self.epochs]
        return self.told or self.epochs >= len(self.curves[seed])

    def terminate(self):
        self.told = True

    def conclude(self):
        if self.trial.what["seed"] in self.failing:
            raise RuntimeError("It diverged.")
        folder = Path(self.trial.folder)
        folder.mkdir(parents=True, exist_ok=True)
        accuracy = self.curves[self.trial.what["seed"]][-1]
        (folder / OUTCOME).write_text(yaml.safe_dump({"accuracy": accuracy, "best_accuracy": accuracy}))


logged: dict = {}


@pytest.fixture
def processes(monkeypatch):
    logged.clear()
    monkeypatch.setattr(seeds, "begin", Process)
    monkeypatch.setattr(seeds, "validation_accuracies", lambda trial: logged.get(trial.what["seed"], []))
    monkeypatch.setattr(Process, "curves", {0: [0.1, 0.2, 0.3, 0.4], 10: [0.3, 0.6, 0.7, 1.0]})
    return Process


def test_a_candidate_is_the_mean_of_its_seeds_after_each_epoch(processes):
    given = study()
    one = seeds.Seeds(candidate(given, given.recipes[0], 0, drawn(0.01), Path("out"), 1), 4)
    found = [one.step() for _ in range(4)]
    assert [(step.epoch, step.ended, step.failure) for step in found] == [
        (1, False, ""),
        (2, False, ""),
        (3, False, ""),
        (4, True, ""),
    ]
    assert [step.accuracy for step in found] == pytest.approx([0.2, 0.4, 0.5, 0.7])


def test_a_candidate_fails_with_one_of_its_seeds(processes, monkeypatch):
    monkeypatch.setattr(Process, "failing", (10,))
    given = study()
    one = seeds.Seeds(candidate(given, given.recipes[0], 0, drawn(0.01), Path("out"), 1), 4)
    (slow, _) = one.running
    while not (step := one.step()).ended:
        pass
    assert (step.accuracy, step.failure) == (0.0, "It diverged.")
    assert slow.told
    assert not one.running


def test_what_has_begun_is_stopped_where_another_of_its_seeds_cant_begin(processes, monkeypatch):
    begun = []

    class Full(Process):
        def __init__(self, trial):
            if trial.what["seed"] == 10:
                raise OSError("No space left on device")
            super().__init__(trial)
            begun.append(self)

    monkeypatch.setattr(seeds, "begin", Full)
    given = study()
    with pytest.raises(OSError, match="No space left"):
        seeds.Seeds(candidate(given, given.recipes[0], 0, drawn(0.01), Path("out"), 1), 4)
    assert [process.told for process in begun] == [True]


def test_a_candidate_that_another_search_has_stopped_is_not_trained(monkeypatch):
    given = study()
    one = begin(given, 0, 0.01)
    for trial in one.trials:
        text = yaml.safe_dump({"accuracy": 0.25, "best_accuracy": 0.5, "stopped_after": 2})
        (Path(trial.folder) / OUTCOME).write_text(text)
    found = seeds.Seeds(one, 4)
    assert found.running == []
    assert found.step() == seeds.Step(2, 0.25, ended=True)


def test_the_search_begun_again_knows_what_was_begun_and_what_ended():
    given = study()
    assert candidates(given, Path("out"), 1) == []
    begin(given, 0, 0.01, accuracy=0.5)
    begin(given, 2, 0.02)
    found = candidates(given, Path("out"), 1)
    assert [(one.number, one.ended, one.drawn["model.optimizer.init_args.lr"]) for one in found] == [
        (0, True, 0.01),
        (2, False, 0.02),
    ]


def test_optuna_is_told_what_was_found_and_tries_first_what_was_begun(monkeypatch):
    optuna = pytest.importorskip("optuna")
    made = []
    plain = optuna.create_study
    monkeypatch.setattr(optuna.study, "create_study", lambda **options: made.append(plain(**options)) or made[-1])
    given = study()
    past = [begin(given, 0, 0.01, accuracy=0.5), begin(given, 1, 0.001, accuracy=0.25)]
    begun = {"number": 3, "drawn": drawn(0.05)}
    search = tuning._bayesian(given, given.recipes[0].space, past, [begun], [2, 4])
    assert [(trial.value, trial.params) for trial in made[0].trials if trial.value is not None] == [
        (0.5, drawn(0.01)),
        (0.25, drawn(0.001)),
    ]
    assert search.suggest("a") == {"point": begun}
    second, third = search.suggest("b")["point"], search.suggest("c")["point"]
    assert (second["number"], third["number"]) == (2, 4)
    for point in (second, third):
        assert given.recipes[0].space.holds(point["drawn"])
        rate = point["drawn"]["model.optimizer.init_args.lr"]
        assert rate == float(f"{rate:.4g}")
    assert search.suggest("d") == search.FINISHED
    search.on_trial_result("b", {"accuracy": 0.1, "training_iteration": 1})
    search.on_trial_complete("b", {"accuracy": 0.75})
    assert max(trial.value or 0 for trial in made[0].trials) == 0.75


def test_a_bayesian_search_that_goes_on_draws_nothing_twice():
    pytest.importorskip("optuna")
    given = study()
    before = tuning._bayesian(given, given.recipes[0].space, [], [], list(range(4)))
    first = [before.suggest(str(n))["point"]["drawn"] for n in range(4)]
    past = [begin(given, n, point["model.optimizer.init_args.lr"], accuracy=0.5) for n, point in enumerate(first)]
    after = tuning._bayesian(given, given.recipes[0].space, past, [], [4, 5, 6, 7])
    second = [after.suggest(str(n))["point"]["drawn"] for n in range(4)]
    assert not [point for point in second if point in first]


class Seen:
    """What ASHA sees of a candidate of Tune's."""

    def __init__(self, number):
        self.trial_id = str(number)
        self.config = {"point": {"number": number, "drawn": drawn(0.01)}}


def test_asha_stops_what_is_worse_than_candidates_were_before_and_notes_it(monkeypatch):
    given = study()
    curves = {0: [0.5, 0.6, 0.7, 0.8], 1: [0.7, 0.8, 0.85, 0.9]}
    past = [begin(given, number, 0.01, accuracy=curve[-1]) for number, curve in curves.items()]
    monkeypatch.setattr(tuning, "mean_curve", lambda one: curves[one.number])
    noted = []
    monkeypatch.setattr(tuning, "note_stopped", lambda trial, epochs: noted.append((trial.name, epochs)))

    def of(config):
        return candidate(given, given.recipes[0], config["point"]["number"], config["point"]["drawn"], Path("out"), 1)

    def decisions(halving, number, accuracies):
        trial, found = Seen(number), []
        halving.on_trial_add(None, trial)
        for epoch, accuracy in enumerate(accuracies, start=1):
            result = {"epoch": epoch, "accuracy": accuracy, "done": epoch == 4}
            found.append(halving.on_trial_result(None, trial, result))
        return found

    halving = tuning._halving(EarlyStopping(1, 2), 4, past, of)
    assert decisions(halving, 2, [0.8, 0.9, 0.9, 0.9]) == ["CONTINUE"] * 3 + ["STOP"]
    assert noted == []  # at its end it is finished, not stopped
    assert decisions(halving, 3, [0.4]) == ["STOP"]
    assert noted == [(f"digits/backpropagation/trial=3,seed={seed}", 1) for seed in (0, 10)]
    assert decisions(tuning._halving(EarlyStopping(1, 2), 4, past, of), 3, [0.4]) == ["STOP"]
    assert decisions(tuning._halving(EarlyStopping(1, 2), 4, [], of), 4, [0.4]) == ["CONTINUE"]  # it knows no other
    assert decisions(tuning._halving(EarlyStopping(2, 2), 4, past, of), 5, [0.4, 0.1])[0] == "CONTINUE"


def test_how_long_candidates_train_is_what_the_study_says():
    given = study()
    assert epochs_of(candidate(given, given.recipes[0], 0, drawn(0.01), Path("out"), 1)) == 4


@pytest.mark.parametrize(
    "changed",
    [
        {"search": {"trials": 1, "early_stopping": {"patience": 1}}},
        {"search": {"trials": 1, "early_stopping": {"grace_epochs": 0}}},
        {"search": {"trials": 1, "early_stopping": {"reduction_factor": 1}}},
        {"search": {"trials": 1, "early_stopping": 3}},
        {"options": {"trainer.max_epochs": -1}},
        {"options": {"trainer.max_steps": 100}},
        {"options": {"trainer.check_val_every_n_epoch": 2}},
        {"options": {"trainer.val_check_interval": 0.5}},
    ],
)
def test_what_can_not_be_compared_gets_one_sentence(changed, capsys):
    Path("study.yaml").write_text(yaml.safe_dump({**STUDY, **changed}))
    assert main(["sweep", "--study", "study.yaml"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_bayesian_search_has_no_list(capsys):
    study()
    assert main(["sweep", "--study", "study.yaml", "--list"]) == 2
    assert "there is no list of its trials beforehand" in capsys.readouterr().err


@pytest.mark.parametrize("changed", [{"model.optimizer.init_args.lr": 5.0}, {"model.beta": 1.0}])
def test_a_folder_of_another_search_is_refused(changed, capsys):
    one = begin(study(), 0, 0.01)
    note = Path(one.trials[0].folder) / NOTE
    content = yaml.safe_load(note.read_text())
    note.write_text(yaml.safe_dump({**content, "drawn": {**content["drawn"], **changed}}))
    assert main(["sweep", "--study", "study.yaml", "--out", "out"]) == 2
    assert "holds a trial of another search" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "[1,", "oops"])
def test_a_damaged_note_of_a_trial_is_named(text, capsys):
    one = begin(study(), 0, 0.01)
    note = Path(one.trials[0].folder) / NOTE
    note.write_text(text)
    assert main(["sweep", "--study", "study.yaml", "--out", "out"]) == 2
    error = capsys.readouterr().err
    assert f"{NOTE} is damaged: delete it, and its trial is trained anew." in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_hopeless_candidates_are_stopped_and_can_be_gone_on_with():
    """The first learns, the second can't: it is stopped by a signal after an epoch, and leaves a checkpoint."""
    space = {"model.optimizer.init_args.lr": {"choice": [1e-9, 0.003]}}
    rule = {"trials": 2, "seed": 5, "early_stopping": {"reduction_factor": 2}}
    given = study(
        recipes={"digits/backpropagation": {"space": space}},
        seeds=[0],
        options={"trainer.max_epochs": 100, "trainer.limit_train_batches": 20},
        search=rule,
    )
    rates = [one.options["model.optimizer.init_args.lr"] for one in candidates(given, Path("out"), 1)]
    assert rates == [0.003, 1e-9]
    assert main(["sweep", "--study", "study.yaml", "--out", "out", "--cpus", "1"]) == 0
    good, bad = (one.trials[0] for one in candidates(given, Path("out"), 1))
    assert is_finished(good)
    assert is_finished(bad)
    assert outcome(good).stopped_after is None
    assert outcome(good).accuracy > 0.8
    assert outcome(bad).stopped_after == 1
    assert "by SIGTERM" in (Path(bad.folder) / "log.txt").read_text()
    assert (Path(bad.folder) / "checkpoints/last.ckpt").is_file()
    with Path("out/trials.csv").open() as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["finished", "stopped after epoch 1"]
    assert main(["sweep", "--study", "study.yaml", "--out", "out", "--cpus", "1"]) == 0  # and nothing is trained again


@pytest.mark.slow
def test_a_candidate_that_cant_begin_is_named_and_the_others_are_trained(capsys):
    """Its folder is a file."""
    rule = {"trials": 3, "seed": 5, "early_stopping": {"grace_epochs": 2}}
    given = study(seeds=[0], options={"trainer.max_epochs": 2, "trainer.limit_train_batches": 5}, search=rule)
    first, second, third = (one.trials[0] for one in candidates(given, Path("out"), 1))
    Path(second.folder).parent.mkdir(parents=True)
    Path(second.folder).touch()
    assert main(["sweep", "--study", "study.yaml", "--out", "out", "--cpus", "1"]) == 1
    printed = capsys.readouterr()
    assert "digits/backpropagation/trial=1: failed (2 of 3" in printed.out
    assert "File exists" in printed.out + printed.err
    assert is_finished(first)
    assert is_finished(third)
