"""Oracle: one process with the whole batch."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from pytorch_lightning import Trainer
from pytorch_lightning.strategies import DeepSpeedStrategy, FSDPStrategy

from bioplausible import CorInfoMax, DigitsDataModule
from bioplausible.__main__ import main
from bioplausible.errors import UserError
from bioplausible.training.data_parallel import join
from bioplausible.training.preconditions import Preconditions
from tests.helpers import (
    CONFIGS,
    CONTEXT,
    LONGEST,
    QUICK,
    ROOT,
    RUN,
    command_line,
    command_line_together,
    differences,
    free_port,
    result,
    run_of,
    scalars,
    slow_but,
)

# 46 images less 5 for validation: three batches, whose last is one sample, and so none for the second process
# with seed 0, rounding decides whether one of PC-Nudge's rectified units is on: no tolerance covers that
ARGS = [
    "--seed_everything",
    "1",
    "--data.init_args.subset_size",
    "46",
    "--trainer.max_epochs",
    "2",
    "--trainer.log_every_n_steps",
    "2",
]
ARGS += ["--trainer.enable_progress_bar", "false", "--data.init_args.crop_padding", "1"]
ARGS += ["--data.init_args.horizontal_flip", "true", "--data.init_args.evaluation_batch_size", "15"]
RECIPES = [path for path in sorted((CONFIGS / "digits").glob("*.yaml")) if not path.stem.endswith("_conv")]

ON_IMAGES = {"corinfomax", "equilibrium_propagation", "predictive_coding", "forward_forward"}


def close(a, b, tolerance, where="checkpoint"):
    """Asserts that two checkpoints hold the same, their floating-point numbers to a tolerance."""
    if isinstance(a, torch.Tensor):
        assert a.shape == b.shape, where
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance, msg=lambda text: f"{where}: {text}")
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - {"ExactResume"}:  # starting several processes draws from the random generators
            close(a[key], b[key], tolerance, f"{where}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, tolerance, f"{where}/{i}")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=tolerance, abs=tolerance), where
    elif not where.endswith("run_config"):  # names the strategy
        assert a == b, where


def network(name, recipe="corinfomax"):
    """Returns the options that replace a recipe's network, which has two layers but for forward-forward's three."""
    if name == "recipe":
        return []
    pool = "soft" if recipe == "holomorphic_equilibrium_propagation" else "max"
    layers = f"[[1, 8, 8], {{conv: 4, kernel: 3, padding: 1, pool: {pool}}}, 10]"
    rates = ["--model.init_args.learning_rates", "0.003"] if recipe == "forward_forward" else []
    return [*rates, "--model.init_args.layer_sizes", "null", "--model.init_args.network", layers]


CASES = [
    *(("recipe", "64-true", 1e-9, recipe) for recipe in slow_but(QUICK, RECIPES)),
    # in single precision it is what the recipes train in, and less sharp
    *(("recipe", "32-true", 1e-5, recipe) for recipe in slow_but((), RECIPES)),
    # of images each rule's step is tested in test_exchange.py: here a few, that they come from the data set
    *(("convolution", "64-true", 1e-9, recipe) for recipe in slow_but(ON_IMAGES, RECIPES)),
]


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("layers", "precision", "tolerance", "recipe"),
    [
        pytest.param(*case, *recipe.values, id=f"{recipe.id}-{'-'.join(map(str, case))}", marks=recipe.marks)
        for *case, recipe in CASES
    ],
)
def test_two_processes_learn_what_one_learns(layers, precision, tolerance, recipe, tmp_path):
    run = run_of(recipe)
    args = ["fit", "--config", str(recipe), *ARGS, "--trainer.precision", precision, *network(layers, recipe.stem)]
    if recipe.stem in ("corinfomax", "corinfomax_sparse"):
        args += ["--model.init_args.track_correlations", "true"]
        args += ["--model.init_args.track_correlations_every_n_steps", "2"]
    if recipe.stem == "nudged_predictive_coding" and tolerance > 1e-6:
        # errors of the recipe's β = 0.001 have but four digits left in float32
        args += ["--model.init_args.beta", "0.1"]
    (tmp_path / "one").mkdir()
    assert command_line(args, tmp_path / "one") == 0
    one, logged = result(tmp_path / "one", run)
    assert one["global_step"] == 6
    for exchange in ("phases", "updates"):
        folder = tmp_path / exchange
        folder.mkdir()
        assert command_line_together(args, folder, exchange=exchange) == [0, 0]
        two, logged_too = result(folder, run)
        close(one, two, tolerance)
        close(logged, logged_too, max(tolerance, 1e-6))  # logged in float32


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one process that nobody interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    assert command_line(["fit", *ARGS, "--trainer.precision", "64-true"], folder) == 0
    return result(folder)[0]


@pytest.mark.sampled
@pytest.mark.parametrize(("first", "then"), [(1, 2), (2, 1), (2, 2)])
def test_resume_with_another_number_of_processes(first, then, whole, tmp_path):
    def train(processes, args, status=0):
        if processes == 1:
            assert command_line(args, tmp_path) == status
        else:
            assert command_line_together(args, tmp_path, processes) == [status] * processes

    train(first, ["fit", *ARGS, "--trainer.precision", "64-true", "--trainer.max_steps", "4"])
    train(then, ["fit", "--ckpt_path", "last", "--trainer.max_steps", "-1", "--trainer.devices", "1"])
    close(whole, result(tmp_path)[0], 1e-9)


@pytest.mark.sampled
@pytest.mark.parametrize("rule", ["backpropagation", "corinfomax"])
def test_observers_look_at_the_whole_batch(rule, tmp_path):
    """Whatever they exchange.

    Of backpropagation's own update the cosine with backpropagation's gradient is 1, in a batch of one sample too.
    """
    looks = "[{class_path: %s, init_args: {every_n_steps: 1}}, {class_path: Guard, init_args: {every_n_steps: 1}}%s]"
    rest = "".join(
        f", {{class_path: {name}, init_args: {{every_n_steps: 3}}}}" for name in ("Settling", "Representations")
    )
    args = ["fit", "--config", str(CONFIGS / f"digits/{rule}.yaml"), *ARGS, "--trainer.precision", "64-true"]
    if rule == "corinfomax":
        rest += ", {class_path: Information, init_args: {every_n_steps: 3}}"
        args += ["--model.init_args.track_correlations", "true"]
        args += ["--model.init_args.track_correlations_every_n_steps", "1"]
    for name in ("one", "phases", "updates"):
        (tmp_path / name).mkdir()
    args += ["--trainer.callbacks", looks % ("Alignment", rest)]
    assert command_line(args, tmp_path / "one") == 0
    run = RUN.parents[1] / rule / "version_0"
    _, one = result(tmp_path / "one", run)
    for exchange in ("phases", "updates"):
        assert command_line_together(args, tmp_path / exchange, exchange=exchange) == [0, 0]
        _, two = result(tmp_path / exchange, run)
        if rule == "backpropagation":
            assert [value for _, value in two["alignment/layer_1_cosine"]] == pytest.approx([1.0] * 6)
        else:
            assert {"settling/nudged_residual_layer_1", "information/B_layer_1_largest"} <= two.keys()
        close(one, two, 1e-6)


@pytest.mark.thorough
def test_the_command_starts_its_processes_and_one_says_what_went_wrong():
    command = [sys.executable, "-m", "bioplausible", "fit", *ARGS]
    command += ["--trainer.strategy", "ddp", "--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    wrong = ["--data", "FashionMNISTDataModule", "--data.init_args.mirror", "nowhere"]
    wrong += ["--model.init_args.layer_sizes", "[784, 10]"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for extra, status, errors in (([], 0, 0), (wrong, 2, 1)):
        ended = subprocess.run(
            [*command, *extra], env=environment, capture_output=True, text=True, check=False, timeout=LONGEST
        )
        assert ended.returncode == status, ended.stderr
        assert ended.stderr.count("error: ") == errors, ended.stderr
        assert "Traceback" not in ended.stderr
        assert "Fatal" not in ended.stderr


def test_a_signal_to_one_process_ends_all_after_the_same_batch(whole, tmp_path):
    args = ["fit", *ARGS, "--trainer.precision", "64-true"]
    assert command_line_together(args, tmp_path, signal_before_step=3, to=1) == [143, 0]
    assert result(tmp_path)[0]["global_step"] == 4
    assert command_line_together(["fit", "--ckpt_path", "last"], tmp_path) == [0, 0]
    close(whole, result(tmp_path)[0], 1e-9)


def test_the_same_number_of_processes_resumes_to_the_same_bits(tmp_path):
    for name, kills in (("whole", []), ("parts", [2])):
        folder = tmp_path / name
        folder.mkdir()
        args = ["fit", *ARGS]
        for step in kills:
            assert command_line_together(args, folder, signal_before_step=step, to=0) == [143, 0]
            args = ["fit", "--ckpt_path", "last"]
        assert command_line_together(args, folder) == [0, 0]
    whole, parts = (result(tmp_path / name)[0] for name in ("whole", "parts"))
    assert [where for where in differences(whole, parts) if "ExactResume" not in where] == []


def _join(rank, numbers, port, results):
    os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=port)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(numbers))
    rows = torch.arange(numbers[rank]) * len(numbers) + rank
    try:
        images, classes = join([rows.double()[:, None, None].expand(-1, 2, 3) / 7, rows])
        results.put((images.tolist(), classes.tolist()))
    except UserError as error:
        results.put(str(error))


@pytest.mark.parametrize("numbers", [[3, 2], [2, 2], [1, 0], [2, 2, 1], [2, 3], [4, 2]], ids=str)
def test_shares_join_to_the_batch(numbers):
    results, port = CONTEXT.SimpleQueue(), free_port()
    started = [CONTEXT.Process(target=_join, args=(rank, numbers, port, results)) for rank in range(len(numbers))]
    for process in started:
        process.start()
    for process in started:
        process.join(LONGEST)
    got = [results.get() for _ in numbers]
    whole = torch.arange(sum(numbers))
    if numbers in ([2, 3], [4, 2]):
        assert all(f"The 2 processes got {numbers} samples of a batch" in sentence for sentence in got)
    else:
        images = whole.double()[:, None, None].expand(-1, 2, 3) / 7
        assert got == [(images.tolist(), whole.tolist())] * len(numbers)


@pytest.mark.parametrize("strategy", [FSDPStrategy, DeepSpeedStrategy])
def test_a_strategy_that_splits_the_network_is_refused(strategy):
    trainer = SimpleNamespace(world_size=2, strategy=strategy.__new__(strategy))
    with pytest.raises(UserError, match=r"use --trainer\.strategy ddp"):
        Preconditions().setup(trainer, CorInfoMax([64, 10]), "fit")


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_processes_that_are_no_commands_are_refused(strategy, capsys):
    command = ["fit", "--trainer.strategy", strategy, "--trainer.accelerator", "cpu", "--trainer.devices", "2"]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert error.count("error: ") == 1
    assert f"the strategy {strategy} starts its processes" in error


@pytest.mark.thorough
def test_two_hosts_with_torchrun(whole, tmp_path):
    """As docs/processes.md says it, both on this machine."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1"]
    command += ["--master_addr", "localhost", "--master_port", free_port()]
    fit = ["-m", "bioplausible", "fit", *ARGS, "--trainer.precision", "64-true", "--trainer.accelerator", "cpu"]
    fit += ["--trainer.strategy", "ddp", "--trainer.num_nodes", "2", "--trainer.devices", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    hosts = [
        subprocess.Popen(
            [*command, "--node_rank", rank, *fit], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        )
        for rank in ("0", "1")
    ]
    assert [host.wait(LONGEST) for host in hosts] == [0, 0]
    close(whole, result(tmp_path)[0], 1e-9)


def test_lightning_does_not_replace_the_training_order():
    trainer = Trainer(strategy="ddp", accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    with pytest.raises(UserError, match="use_distributed_sampler=False"):
        trainer.fit(CorInfoMax([64, 10]), DigitsDataModule())


def test_evaluation_counts_every_sample_once_and_predicting_is_the_work_of_one(tmp_path):
    assert command_line(["fit", *ARGS], tmp_path) == 0
    last = str(RUN / "checkpoints/last.ckpt")
    assert command_line_together(["predict", "--ckpt_path", last], tmp_path) == [2, 2]
    assert not list(tmp_path.rglob("*predictions*"))
    for command in ("validate", "test"):
        args = [command, "--ckpt_path", last, "--trainer.logger.init_args.save_dir"]
        assert command_line([*args, f"{command}-one"], tmp_path) == 0
        assert command_line_together([*args, f"{command}-two"], tmp_path) == [0, 0]
        one, two = (scalars(next((tmp_path / f"{command}-{n}").rglob("events*")).parent) for n in ("one", "two"))
        assert f"{'val' if command == 'validate' else 'test'}/accuracy" in one
        close(one, two, 1e-6)


def test_what_processes_trained_together_is_evaluated_by_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    few = [
        "--data.init_args.subset_size",
        "46",
        "--trainer.max_epochs",
        "1",
        "--data.init_args.validation_split",
        "0.2",
    ]
    assert command_line_together(["fit", *few, "--trainer.enable_progress_bar", "false"], tmp_path) == [0, 0]
    last = str(RUN / "checkpoints/last.ckpt")
    for command, said in (("validate", "val/accuracy"), ("test", "test/accuracy"), ("predict", "predictions")):
        assert main([command, "--ckpt_path", last]) == 0
        assert said in capsys.readouterr().out
    # the same numbers as where the run itself was evaluated, by two processes
    logged = scalars(RUN)["test/accuracy"][-1][1]
    (tested,) = Trainer(logger=False, enable_progress_bar=False).test(
        CorInfoMax.load_from_checkpoint(last), DigitsDataModule()
    )
    assert tested["test/accuracy"] == pytest.approx(logged)
