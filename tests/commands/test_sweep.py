"""Sweeps: every combination, a failing one named, a killed one resumed, nothing trained twice."""

import csv
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from bioplausible.__main__ import main
from bioplausible.commands.sweep import on_ray, running, trained_and_reported
from bioplausible.commands.sweep.running import begin, is_finished, note_stopped, run_trial
from bioplausible.commands.sweep.trials import TEST, VALIDATION, Trial, trials
from bioplausible.errors import UserError
from tests.helpers import CONFIGS, LONGEST, ROOT, command_line

RECIPE = CONFIGS / "digits/backpropagation.yaml"


def sweep(*args):
    """Runs a sweep in a process of its own and returns its exit status and what it printed."""
    command = [sys.executable, "-m", "bioplausible", "sweep", "--config", str(RECIPE), "--out", "out", *args]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=LONGEST, check=False)
    return done.returncode, done.stdout + done.stderr


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def runs():
    with Path("out/report/runs.csv").open() as file:
        return {Path(row["run"]).name: row for row in csv.DictReader(file)}


def test_every_combination_has_its_name_and_arguments(tmp_path):
    grid = {"model.init_args.loss": ["a", "b"], "trainer.max_epochs": ["1"]}
    found = trials(RECIPE, [0, 10], grid, tmp_path, threads=1)
    assert [t.name for t in found] == [
        f"digits/backpropagation/seed={s},loss={v},max_epochs=1" for s in (0, 10) for v in "ab"
    ]
    assert found[1].arguments[:8] == [
        "--config",
        str(RECIPE),
        "--seed_everything",
        "0",
        "--model.init_args.loss",
        "b",
        "--trainer.max_epochs",
        "1",
    ]
    ambiguous = trials(RECIPE, [0], {"a.lr": ["1"], "b.lr": ["2"]}, tmp_path, threads=1)
    assert ambiguous[0].name == "digits/backpropagation/seed=0,a.lr=1,b.lr=2"


RULES = {
    "by its name": ("model", "EquilibriumPropagation"),
    "by its path": ("model", "bioplausible.EquilibriumPropagation"),
    "with settings": ("model", "{class_path: EquilibriumPropagation, init_args: {beta: 0.5}}"),
    "as a class": ("model.class_path", "EquilibriumPropagation"),
}


@pytest.mark.parametrize(("key", "value"), RULES.values(), ids=RULES)
def test_a_folder_names_the_rule_that_the_trial_trains(key, value, tmp_path):
    """And of two recipes' trials each has a folder of its own."""
    conv = CONFIGS / "digits/backpropagation_conv.yaml"
    own = tmp_path / "mine.yaml"
    own.write_text(RECIPE.read_text())
    for recipe, kind in ((RECIPE, "digits/{}"), (conv, "digits/{}_conv"), (own, f"{tmp_path.name}/mine")):
        for trial, rule in zip(
            trials(recipe, [0], {key: [value, "Backpropagation"]}, tmp_path / "out", threads=1),
            ("equilibrium_propagation", "backpropagation"),
            strict=True,
        ):
            assert Path(trial.folder).parent == tmp_path / "out" / kind.format(rule)
            named = trial.arguments[trial.arguments.index("--trainer.logger.init_args.name") + 1]
            assert named == kind.format(rule)
            assert trial.name.startswith(f"{named}/seed=0,")


def test_and_the_data_set_that_it_is_trained_on(tmp_path):
    kinds = [
        Path(trial.folder).parent.relative_to(tmp_path)
        for trial in trials(RECIPE, [0], {"data": ["DigitsDataModule", "FashionMNISTDataModule"]}, tmp_path, threads=1)
    ]
    assert kinds == [Path("digits/backpropagation"), Path("fashion_mnist/backpropagation")]


def test_a_network_has_its_short_name_and_a_folder_that_any_disk_takes(tmp_path):
    layer = "{conv: 8, kernel: 3, skip: {from: 0, stride: 2}}"
    nets = [f"[[1, 8, 8], {', '.join([layer] * count)}, {units}]" for count, units in ((1, 10), (30, 10), (30, 11))]
    found = trials(RECIPE, [0], {"model.init_args.network": [*nets, "[oops]"]}, tmp_path, threads=1)
    folders = [Path(trial.folder).name for trial in found]
    assert found[0].name == "digits/backpropagation/seed=0,network=1×8×8 · conv8 3×3 +0/2 · 10"
    assert folders[0] == "seed=0,network=1×8×8 · conv8 3×3 +0_2 · 10"
    assert found[3].name == "digits/backpropagation/seed=0,network=[oops]"
    assert len(set(folders)) == 4
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert found[1].arguments[5] == nets[1]


@pytest.mark.thorough
def test_a_sweep_trains_names_what_fails_and_repeats_nothing(capsys):
    few = [
        "--seeds",
        "0,1",
        "--grid",
        "trainer.max_epochs=1",
        "--grid",
        "model.init_args.optimizer.init_args.lr=0.01,1e30",
    ]
    status, said = sweep(*few)
    assert status == 1
    assert "4 trials, 0 of them finished before" in said
    assert "failed  digits/backpropagation/seed=1,max_epochs=1,lr=1e30: " in said
    assert "2 of 4 trials finished" in said
    ends = [line for line in said.splitlines() if " of 4" in line and line.startswith("digits/")]
    assert [line.split("(")[1].split()[0] for line in ends] == ["1", "2", "3", "4"]  # told as they end
    assert sum("lr=1e30: failed (" in line for line in ends) == 2
    assert sum("lr=0.01: " in line and "%" in line for line in ends) == 2
    assert "Traceback" not in said
    finished = {name for name, row in runs().items() if row["status"] == "finished"}
    assert finished == {f"seed={s},max_epochs=1,lr=0.01" for s in (0, 1)}
    log = Path("out/digits/backpropagation/seed=0,max_epochs=1,lr=0.01/log.txt")
    before = log.stat().st_mtime_ns
    again = [
        "--seeds",
        "0,1",
        "--grid",
        "trainer.max_epochs=1",
        "--grid",
        "model.init_args.optimizer.init_args.lr=0.01",
    ]
    assert main(["sweep", "--config", str(RECIPE), "--out", "out", *again]) == 0
    assert "2 trials, 2 of them finished before" in capsys.readouterr().out
    assert log.stat().st_mtime_ns == before
    assert Path("out/report/index.html").is_file()


def processes(folder):
    """Returns the processes that train in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_text()
        except OSError:  # it has just ended
            continue
        if "fit" in command and str(folder.resolve().parent) in command and "bioplausible" in command:
            found.append(process.name)
    return found


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
@pytest.mark.parametrize(
    ("number", "status"),
    [
        pytest.param(signal.SIGKILL, -signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        (signal.SIGTERM, 143),
    ],
)
def test_a_sweep_that_is_stopped_says_so_and_leaves_nothing_running(number, status):
    forever = ["--seeds", "0", "--grid", "trainer.max_epochs=100000"]
    command = [sys.executable, "-m", "bioplausible", "sweep", "--config", str(RECIPE), "--out", "out", *forever]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    out = Path("out")
    try:
        patience = time.monotonic() + LONGEST
        while not list(out.rglob("last.ckpt")) and time.monotonic() < patience:
            time.sleep(0.1)
        assert processes(out / "digits")
    finally:
        process.send_signal(number)
        assert process.wait() == status
    patience = time.monotonic() + LONGEST  # Ray takes a moment to see that its driver is gone
    while processes(out / "digits") and time.monotonic() < patience:
        time.sleep(0.5)
    assert not processes(out / "digits")


TRAINER = """#!/bin/sh
echo begins >> {moments}
sleep {seconds}
echo ends >> {moments}
"""
"""Stands for a trial's process."""


def test_a_trial_begins_once_the_last_process_in_its_folder_has_ended(tmp_path, monkeypatch):
    """Of a sweep that was killed a trial may live on while the next sweep starts: two would write in one folder."""
    moments, program = tmp_path / "moments.txt", tmp_path / "python"
    program.write_text(TRAINER.format(moments=moments, seconds=0.5))
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    trial = Trial("a", str(tmp_path / "trial"), [], {"seed": 0}, threads=1)
    killed = begin(trial)
    killed._log.close()  # as its sweep's end does
    after = begin(trial)
    for training in (killed, after):
        assert training.wait(LONGEST)
    with pytest.raises(RuntimeError, match="not tested"):
        after.conclude()
    assert moments.read_text().split() == ["begins", "ends"] * 2

    program.write_text("#!/bin/sh\nexec sleep 9999\n")
    living = begin(trial)
    monkeypatch.setattr("bioplausible.commands.sweep.running.PATIENCE", 0.2)
    with pytest.raises(RuntimeError, match=r"another process trains in .*trial: wait for its sweep to end, or end it"):
        begin(trial)
    living.terminate()
    assert living.wait(LONGEST)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("kill -9 $$", "killed (exit status -9)"),
        ("printf 'Epoch 3'; kill -9 $$", "killed (exit status -9)"),
        ("exit 3", "ended without a word (exit status 3)"),
        ("echo 'error: It diverged.'; exit 3", "It diverged."),
    ],
)
def test_why_a_trial_failed_stands_in_its_log_though_its_process_could_not_say_it(script, said, tmp_path, monkeypatch):
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    trial = Trial("a", str(tmp_path / "trial"), [], {"seed": 0}, threads=1)
    with pytest.raises(RuntimeError) as error:
        run_trial(trial)
    assert str(error.value) == running.last_words(trial) == said


def test_why_ray_lost_a_trial_is_said_in_short():
    from ray.exceptions import ActorDiedError, OutOfMemoryError, RayTaskError

    for killed in (ActorDiedError(), OutOfMemoryError("Memory on the node was low. The worker was killed.")):
        assert on_ray.why(killed) == "killed with Ray's worker"
    assert on_ray.why(RayTaskError("f", "Traceback\n  line\nTypeError: no", TypeError("no"))) == "TypeError: no"
    assert on_ray.why(TypeError()) == "TypeError"


@pytest.mark.parametrize(("scored_by", "hopeless"), [(TEST, False), (VALIDATION, False), (VALIDATION, True)])
def test_a_trial_that_another_sweep_finishes_while_this_one_waits_is_left_as_it_is(
    scored_by, hopeless, tmp_path, monkeypatch
):
    moments, program = tmp_path / "moments.txt", tmp_path / "python"
    program.write_text(TRAINER.format(moments=moments, seconds=0.5))
    program.chmod(0o755)

    def read(folder):
        """Returns a run that has been tested once its process has ended."""
        ended = "ends" in moments.read_text()
        return SimpleNamespace(finished=ended, last=lambda name: 0.5, best=lambda name: 0.75)

    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(running, "read_run", read)
    monkeypatch.setattr(running, "validation_accuracies", lambda trial: [0.25, 0.5])
    trial = Trial("a", str(tmp_path / "trial"), [], {"seed": 0}, threads=1, scored_by=scored_by)
    first = begin(trial)
    while not moments.is_file():
        time.sleep(0.01)
    with ThreadPoolExecutor() as beside:
        other = beside.submit(begin, trial)
        time.sleep(0.2)
        if hopeless:
            note_stopped(trial, 1)
            first.terminate()
            assert first.wait(LONGEST)
        else:
            assert first.wait(LONGEST)
            time.sleep(0.5)  # reading a long log takes a while
            assert first.conclude() == 0.5
        assert other.result() is None
    assert moments.read_text().split().count("begins") == 1
    assert is_finished(trial)
    if scored_by == VALIDATION:
        assert running.outcome(trial).stopped_after == (1 if hopeless else None)


def test_a_trial_that_was_killed_goes_on_from_its_checkpoint(tmp_path, monkeypatch):
    (trial,) = trials(RECIPE, [0], {"trainer.max_epochs": ["2"]}, tmp_path, threads=1)
    args = ["fit", *trial.arguments, "--checkpoint_every_n_steps", "10"]
    Path(trial.folder).mkdir(parents=True)
    (Path(trial.folder) / "trial.yaml").write_text(yaml.safe_dump(trial.what))
    assert command_line(args, tmp_path, kill_before_step=75) == -9
    started = []
    plain = subprocess.Popen

    def watched(command, **options):
        started.append(command)
        return plain(command, **options)

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(subprocess, "Popen", watched)
    assert not is_finished(trial)
    assert run_trial(trial) > 0.5
    assert is_finished(trial)
    assert started[0][started[0].index("--ckpt_path") + 1].endswith("step=70.ckpt")
    # another sweep of the same study has it on its list still: the run is left as it is, though no checkpoint is left
    reached = run_trial(trial)
    for checkpoint in Path(trial.folder).rglob("*.ckpt"):
        checkpoint.unlink()
    before = {path: path.stat().st_mtime_ns for path in Path(trial.folder).rglob("*")}
    assert run_trial(trial) == reached
    assert {path: path.stat().st_mtime_ns for path in Path(trial.folder).rglob("*")} == before
    assert len(started) == 1


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--config", "nothing.yaml"],
        ["--config", str(RECIPE), "--seeds", "a"],
        ["--config", str(RECIPE), "--seeds", "1,1"],
        ["--config", str(RECIPE), "--grid", "beta"],
        ["--config", str(RECIPE), "--grid", "beta=1,,2"],
        ["--config", str(RECIPE), "--threads", "0"],
        ["--config", str(RECIPE), "--config", str(RECIPE)],
        ["--config", str(RECIPE), "--grid", "a=1,1"],
        ["--config", str(RECIPE), "--out", "/dev/null/x"],
    ],
)
def test_bad_input_gets_one_sentence(args, capsys):
    assert main(["sweep", *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_lists_are_values_and_a_key_given_twice_has_all_its_values(monkeypatch):
    seen = []
    monkeypatch.setattr(on_ray, "train", lambda waiting, *_: seen.extend(waiting) or {})
    grid = [
        "--grid",
        "model.init_args.layer_sizes=[64,100,10],[64,200,10]",
        "--grid",
        "data.batch_size=1",
        "--grid",
        "data.batch_size=2",
    ]
    assert main(["sweep", "--config", str(RECIPE), "--out", "out", *grid]) == 1  # nothing is finished
    assert len(seen) == 4
    assert {t.what["options"]["model.init_args.layer_sizes"] for t in seen} == {"[64,100,10]", "[64,200,10]"}
    assert {t.what["options"]["data.batch_size"] for t in seen} == {"1", "2"}


def test_lists_within_lists_are_values(monkeypatch):
    seen = []
    monkeypatch.setattr(on_ray, "train", lambda waiting, *_: seen.extend(waiting) or {})
    nets = ["[[1,8,8],{conv: 4, kernel: 3},{conv: 8, kernel: 3, skip: [{from: 0, stride: 2}]},10]", "[[1,8,8],5,10]"]
    grid = ["--grid", f"model.init_args.network={','.join(nets)}", "--grid", "data.batch_size=1,2"]
    assert main(["sweep", "--config", str(RECIPE), "--out", "out", *grid]) == 1
    assert [(t.what["options"]["model.init_args.network"], t.what["options"]["data.batch_size"]) for t in seen] == [
        (net, x) for net in nets for x in "12"
    ]


def test_a_sweep_of_which_a_trial_is_missing_at_the_end_does_not_end_as_if_all_were_there(monkeypatch, capsys):
    """Though none failed: another process may have removed what was finished."""
    finished = {0, 1}
    monkeypatch.setattr(trained_and_reported, "is_finished", lambda trial: trial.what["seed"] in finished)
    monkeypatch.setattr(on_ray, "train", lambda *_: {})
    args = ["sweep", "--config", str(RECIPE), "--out", "out", "--seeds", "0,1,2"]
    assert main(args) == 1
    assert "2 of 3 trials finished" in capsys.readouterr().out
    finished.add(2)
    assert main(args) == 0


def test_a_cluster_that_does_not_answer_is_named(monkeypatch, capsys):
    import ray

    def refuse(**options):
        raise ConnectionError

    monkeypatch.setattr(ray, "init", refuse)
    assert main(["sweep", "--config", str(RECIPE), "--out", "out", "--address", "nowhere:1"]) == 2
    assert "No Ray cluster answers at nowhere:1" in capsys.readouterr().err


def test_a_folder_of_another_sweep_is_refused(capsys):
    folder = Path("out/digits/backpropagation/seed=0")
    folder.mkdir(parents=True)
    (folder / "trial.yaml").write_text(yaml.safe_dump({"seed": 0, "options": {}, "recipe": "another"}))
    assert main(["sweep", "--config", str(RECIPE), "--out", "out"]) == 2
    assert "another recipe" in capsys.readouterr().err


@pytest.mark.parametrize("scored_by", [TEST, VALIDATION])
@pytest.mark.parametrize(
    ("name", "texts", "cure"),
    [
        ("trial.yaml", ["", "[1,", "oops", "\0"], "its trial is trained anew"),
        (
            "outcome.yaml",
            ["", "accuracy: 0.5", "accuracy: x\nbest_accuracy: 1", "{a: 1}", "- 1", "{accuracy: 1"],
            "its trial goes on from its checkpoint",
        ),
        ("seconds.txt", ["", "x"], "its trial's time counts from 0"),
    ],
)
def test_a_damaged_note_is_named_in_one_sentence(scored_by, name, texts, cure, tmp_path, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("it was trained"))
    (trial,) = trials(RECIPE, [0], {}, tmp_path, threads=1)
    trial = replace(trial, scored_by=scored_by)
    folder = Path(trial.folder)
    folder.mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    for text in texts if name != "outcome.yaml" or scored_by == VALIDATION else ():
        (folder / "trial.yaml").write_text(yaml.safe_dump(trial.what))
        (folder / name).write_text(text)
        with pytest.raises(UserError) as error:
            begin(trial)
        assert str(error.value) == f"{folder / name} is damaged: delete it, and {cure}."
    assert (folder / "checkpoints/last.ckpt").is_file()


def test_a_trial_is_noted_whole_or_not_at_all(tmp_path, monkeypatch):
    """A kill that comes while it is written must not leave half of it."""
    (trial,) = trials(RECIPE, [0], {}, tmp_path, threads=1)
    note, plain = Path(trial.folder) / "trial.yaml", Path.write_text

    def killed(path, text, *args, **options):
        plain(path, text[:5], *args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        begin(trial)
    assert not note.exists()


def test_environment_variables_are_part_of_what_a_trial_is_known_by(tmp_path, monkeypatch):
    monkeypatch.setenv("PL_FIT__TRAINER__LIMIT_TRAIN_BATCHES", "1")
    (before,) = trials(RECIPE, [0], {}, tmp_path, threads=1)
    folder = Path(before.folder)
    folder.mkdir(parents=True)
    (folder / "trial.yaml").write_text(yaml.safe_dump(before.what))
    assert not is_finished(before)  # known again, and without a run
    monkeypatch.setenv("PL_FIT__TRAINER__LIMIT_TRAIN_BATCHES", "3")
    (now,) = trials(RECIPE, [0], {}, tmp_path, threads=1)
    with pytest.raises(UserError, match="other options or environment variables"):
        is_finished(now)
    monkeypatch.delenv("PL_FIT__TRAINER__LIMIT_TRAIN_BATCHES")
    (without,) = trials(RECIPE, [0], {}, tmp_path, threads=1)
    assert "environment" not in without.what  # those of earlier versions are known again


@pytest.mark.parametrize(("trials", "at_once"), [(3, 1), (8, 2), (24, 2), (9, 4), (2, 4), (5, 4), (17, 16)])
def test_what_is_left_is_told_where_all_take_as_long(trials, at_once, monkeypatch, capsys):
    """Trials of equal length, several at once: the last ends at ⌈trials / at once⌉ times it, in seconds."""
    length, clock = 600.0, 0.0
    monkeypatch.setattr(on_ray.time, "monotonic", lambda: clock)
    countdown, names = on_ray.Countdown(trials), [f"t{i}" for i in range(trials)]
    end = -(-trials // at_once) * length
    for i in range(0, trials, at_once):
        for name in names[i : i + at_once]:
            countdown.begin(name)
        clock += length
        for name in names[i : i + at_once]:
            countdown.tell(name, name, "90.00%")
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"t{trials - 1}: 90.00% ({trials} of {trials})"
    for i, line in enumerate(lines[:-1]):
        hours, minutes, seconds = map(int, re.search(r"about (\d+):(\d+):(\d+) left", line).groups())
        now = (i // at_once + 1) * length
        assert 3600 * hours + 60 * minutes + seconds == end - now, line


@pytest.fixture
def told(monkeypatch, capsys):
    """Runs (minute, event, trial, outcome) through a countdown and returns its lines."""

    def run(trials, *events):
        clock = 0.0
        monkeypatch.setattr(on_ray.time, "monotonic", lambda: clock)
        countdown = on_ray.Countdown(trials)
        for minute, event, trial, *outcome in events:
            clock = 60.0 * minute
            countdown.begin(trial) if event == "begin" else countdown.tell(trial, trial, *outcome)
        return capsys.readouterr().out.splitlines()

    return run


def test_a_trial_that_dies_is_told_and_no_longer_counts_as_one_at_once(told):
    lines = told(
        4,
        *[(0, "begin", "a"), (1, "tell", "a", None), (1, "begin", "b"), (11, "tell", "b", "90%"), (11, "begin", "c")],
        *[(21, "tell", "c", "91%"), (21, "begin", "d"), (31, "tell", "d", "92%")],
    )
    assert lines == [
        "a: failed (1 of 4)",
        "b: 90% (2 of 4, about 0:20:00 left)",
        "c: 91% (3 of 4, about 0:10:00 left)",
        "d: 92% (4 of 4)",
    ]


def test_a_trial_that_never_began_or_begins_again_is_told_once(told):
    lines = told(
        3,
        *[(0, "begin", "a"), (10, "tell", "a", "90%"), (10, "begin", "a"), (11, "tell", "a", "90%")],
        *[(11, "tell", "b", None), (12, "begin", "c"), (22, "tell", "c", "91%")],
    )
    assert lines == ["a: 90% (1 of 3, about 0:20:00 left)", "b: failed (2 of 3, about 0:10:00 left)", "c: 91% (3 of 3)"]


def test_a_trial_that_outlasts_the_others_is_not_told_to_have_ended(told):
    """Those that a search stops early say little of how long the best go on."""
    lines = told(
        3,
        *[(0, "begin", "a"), (0, "begin", "b"), (2, "tell", "b", "10%"), (2, "begin", "c"), (20, "tell", "c", "11%")],
    )
    assert lines == ["b: 10% (1 of 3, about 0:02:00 left)", "c: 11% (2 of 3, about 0:10:00 left)"]


def test_the_last_one_takes_a_trials_time_once_it_has_a_place(told):
    """Of three, two at once: it begins when the first ends, and the other ends in between."""
    lines = told(
        3,
        *[(0, "begin", "a"), (4, "begin", "b"), (10, "tell", "a", "1%"), (10, "begin", "c"), (14, "tell", "b", "2%")],
    )
    assert lines == ["a: 1% (1 of 3, about 0:10:00 left)", "b: 2% (2 of 3, about 0:06:00 left)"]
