"""What holds on a GPU: the CPU's steps, recordings, no waiting within a step, CUDA graphs, resuming to the same bits.

Where there is one: ``python -m pytest tests/gpu``.
"""

import copy
import inspect

import pytest
import torch
from pytorch_lightning import Trainer
from torch.utils.data import DataLoader, TensorDataset

from bioplausible.commands.verify.recording import TOLERANCE
from bioplausible.commands.verify.replay import replay
from bioplausible.errors import UserError
from bioplausible.training.metrics import EpochMeans
from tests.helpers import GOLDEN, GOLDEN_NETWORKS, NETWORKS, VARIANTS, batch, build, differences

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU that CUDA can use here"),
]

ALL_VARIANTS = pytest.mark.parametrize("variant", VARIANTS)
RECORDINGS = sorted([*GOLDEN.glob("*.npz"), *GOLDEN_NETWORKS.glob("*.npz")])


def trained(rule, x, target, steps=3, **options):
    """Returns the rule's state after some steps on a batch, with options of the optimizer."""
    optimizer = rule.optimizer(rule.parameter_groups(), **options)
    for _ in range(steps):
        rule.learn(x, target, optimizer)
    return {name: value.detach().cpu() for name, value in rule.state_dict().items()}


@ALL_VARIANTS
@pytest.mark.parametrize("network", NETWORKS)
def test_three_steps_are_those_of_the_cpu(variant, network):
    cls, options = VARIANTS[variant]
    rule = build(cls, network, **options)
    x, _, target = batch(network)
    there = trained(copy.deepcopy(rule).cuda(), x.cuda(), target.cuda())
    assert_same(there, trained(rule, x, target))


def assert_same(there, here):
    for name, value in here.items():
        torch.testing.assert_close(there[name], value, rtol=1e-9, atol=1e-12, msg=lambda said, n=name: f"{n}: {said}")


def skip_if_it_must_wait(options):
    if options.get("step_size_discount", 1) < 1:
        pytest.skip("its step size follows the energy, which the processor has to know")


@ALL_VARIANTS
@pytest.mark.parametrize("network", ["dense", "stride", "max pool"])
def test_a_step_does_not_wait_for_the_gpu(variant, network):
    cls, options = VARIANTS[variant]
    skip_if_it_must_wait(options)
    rule = build(cls, network, **options).cuda()
    x, y, _ = (tensor.cuda() for tensor in batch(network))
    optimizer = rule.optimizer(rule.parameter_groups())
    means = EpochMeans(persistent=False).cuda()

    @torch.no_grad()
    def step():
        target = rule.one_hot(y, x.dtype)
        output = rule.answer(rule.prediction_phase(rule.learn(x, target, optimizer)))
        rule._score(means, output, y, target)

    step()  # libraries start with their first work
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ALL_VARIANTS
@pytest.mark.parametrize("network", ["dense", "stride"])
def test_a_step_can_be_captured_in_a_cuda_graph(variant, network):
    cls, options = VARIANTS[variant]
    skip_if_it_must_wait(options)
    if options.get("feedback") == "batchwise_random_sign":
        pytest.skip("its feedback is drawn anew each step")
    if any("random_beta_sign" in inspect.signature(base.__init__).parameters for base in cls.__mro__):
        options = {**options, "random_beta_sign": False}  # a graph repeats what it was captured with
    rule = build(cls, network, **options).cuda()
    x, _, target = (tensor.cuda() for tensor in batch(network))
    # such an Adam counts its steps in float32: what it should do is what it does launched kernel by kernel
    more = {"capturable": True} if rule.optimizer is torch.optim.Adam else {}
    expected = trained(copy.deepcopy(rule), x, target, steps=5, **more)
    optimizer = rule.optimizer(rule.parameter_groups(), **more)
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(2):
            rule.learn(x, target, optimizer)
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        rule.learn(x, target, optimizer)
    for _ in range(3):
        graph.replay()
    for name, value in rule.state_dict().items():
        torch.testing.assert_close(
            value.cpu(), expected[name], rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.stem)
def test_recordings_agree(path):
    try:
        found = replay(path, accelerator="gpu")
    except UserError as error:
        pytest.skip(str(error))
    worst = max(found, key=lambda difference: difference.error)
    assert worst.error <= TOLERANCE, worst


def fit(rule, epochs, precision="32-true", ckpt_path=None):
    x, y, _ = batch("stride", n=60)
    trainer = Trainer(
        accelerator="gpu",
        devices=1,
        precision=precision,
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(rule, DataLoader(TensorDataset(x.float(), y), batch_size=20), ckpt_path=ckpt_path)
    return trainer


@ALL_VARIANTS
def test_training_resumes_to_the_same_bits(variant):
    cls, options = VARIANTS[variant]

    def rule():
        torch.manual_seed(0)
        return build(cls, "stride", **options).float()

    whole = fit(rule(), 3)
    fit(rule(), 1).save_checkpoint("first.ckpt")
    resumed = fit(rule(), 3, ckpt_path="first.ckpt")
    ends = [trainer.lightning_module.state_dict() for trainer in (whole, resumed)]
    assert list(differences(*ends)) == []


@ALL_VARIANTS
def test_bfloat16_stays_close(variant):
    cls, options = VARIANTS[variant]
    torch.manual_seed(0)
    rule = build(cls, "stride", **options).float()
    ends = [fit(copy.deepcopy(rule), 2, p).lightning_module.state_dict() for p in ("32-true", "bf16-mixed")]
    for name, exact in ends[0].items():
        torch.testing.assert_close(ends[1][name], exact, rtol=0.05, atol=0.02, msg=name)
