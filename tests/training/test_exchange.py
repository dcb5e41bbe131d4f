"""What several processes exchange: oracles are one process, and the bytes that equations give."""

from collections.abc import Iterator

import pytest
import torch
from torch import distributed

import bioplausible
from bioplausible import CorInfoMax, EquilibriumPropagation, FeedbackAlignment, UserError
from bioplausible.observers import Guard
from bioplausible.rules import LearningRule
from bioplausible.training.data_parallel import average, join, processes, rank, share
from bioplausible.training.exchange import Exchange
from bioplausible.training.phase import Phase
from tests.helpers import (
    ALL_TERMS_OF_CORINFOMAX_EBD,
    ALL_TERMS_OF_EBD,
    NETWORKS,
    ROOT,
    all_rules,
    batch,
    build,
    work_together,
)

BATCHES = [7, 6, 1]
"""Samples of each batch: uneven shares, even ones, and a batch of which not every process gets a sample."""
OPTIONS = {
    "EquilibriumPropagation": [
        {"three_phase": True, "feedback": "learned"},
        {"readout": True, "loss": "cross_entropy", "relax_free_again": True},
        {
            "points": 4,
            "activation_function": "smooth_clip",
            "output_activation": "linear",
            "step_size": 1.0,
            "beta": 0.1,
        },
    ],
    "FeedbackAlignment": [{"feedback": kind} for kind in ("uniform_sign", "batchwise_random_sign")],
    "DirectFeedbackAlignment": [{"projection": "output", "signal": signal} for signal in ("error", "error_sign")],
    "DifferenceTargetPropagation": [
        {"last_hidden_target": "gradient", "feedback_steps": 2},
        {"feedback_loss": "difference_reconstruction"},
    ],
    "DirectDifferenceTargetPropagation": [{"hidden_units": 5, "feedback_steps": 2}],
    "KolenPollack": [{"mirror": mirror} for mirror in ("zero_mean", "published")],
    "DualPropagation": [{"form": "raovr", "order": "forward", "alpha": 0.2}, {"order": "forward_backward"}],
    "PEPITA": [{"dropout": 0.3}, {"published_convolution": True}],
    "Burstprop": [{"recurrent_rate": 0.5}, {"feedback": "fixed"}],
    "ForwardForward": [
        {"peer_normalization": 0.3},
        {"order": "layer_by_layer", "updates_per_batch": 2},
        {"prediction": "goodness"},
    ],
    "CorInfoMax": [{"track_correlations": True, "three_phase": True, "weight_decay": True, "regularize_lateral": True}],
    "ContrastiveSimilarityMatching": [{"signed_hebbian_term": False}],
    "PredictiveCoding": [{"fixed_predictions": True}, {"inference": "errors", "free_output_error": True}],
    "IncrementalPredictiveCoding": [{"step_size": 0.5, "step_size_discount": 0.5, "inference_momentum": 0.3}],
    "ErrorBroadcastDecorrelation": [ALL_TERMS_OF_EBD, {"entropy": 0.1, "entropy_of": "weights"}],
    "CorInfoMaxEBD": [ALL_TERMS_OF_CORINFOMAX_EBD],
}


def cases() -> Iterator[tuple[type[LearningRule], str, dict]]:
    """Yields each rule with its defaults on every network, and some of its options on one of them."""
    for cls in all_rules():
        for network in NETWORKS:
            yield cls, network, {}
        for options in OPTIONS.get(cls.__name__, []):
            yield cls, "max pool", options


class Counted:
    """Counts the bytes of the collectives, those of counting samples left out."""

    def __init__(self, monkeypatch) -> None:
        self.gathered = self.summed = 0
        all_gather, all_reduce = distributed.all_gather, distributed.all_reduce

        def gather(tensors, mine):
            self.gathered += mine.nbytes * len(tensors) if mine.ndim else 0
            all_gather(tensors, mine)

        def reduce(mine):
            self.summed += mine.nbytes
            all_reduce(mine)

        monkeypatch.setattr(distributed, "all_gather", gather)
        monkeypatch.setattr(distributed, "all_reduce", reduce)


def learn(exchange: str, apart: int = 1) -> dict:
    """Returns, of every one of so many cases, the state after some batches, what was logged, and what was exchanged."""
    found = {}
    LearningRule.exchange = exchange
    for i, (cls, network, options) in enumerate(cases()):
        if i % apart:
            continue
        torch.manual_seed(i)
        rule = build(cls, network, **options)
        optimizer = rule.optimizer(rule.parameter_groups())
        logged, exchanged = [], []
        for n in BATCHES:
            x, _, target = batch(network, n, seed=n)
            with pytest.MonkeyPatch.context() as patch:
                counted = Counted(patch)
                rule.phases = rule.learn(share(x), share(target), optimizer)
            logged.append(rule.dynamics())
            expected = Exchange.of(rule, rule.phases, n)
            inputs = (x.nbytes + target.nbytes) // n
            exchanged.append([counted.gathered, counted.summed, expected.phases, expected.updates, inputs])
        state = {name: tensor.clone() for name, tensor in rule.state_dict().items()}
        found[f"{cls.__name__}, {network}, {options}"] = {"state": state, "logged": logged, "exchanged": exchanged}
    return found


@pytest.fixture(scope="module")
def alone():
    return learn("smaller")


@pytest.mark.sampled
@pytest.mark.parametrize(
    ("number", "exchange", "apart"),
    [
        (2, "phases", 1),
        (2, "updates", 1),
        (3, "updates", 3),  # each rule on three or four of the networks, and over the rules on all
        pytest.param(3, "updates", 1, marks=pytest.mark.slow),
    ],
)
def test_processes_learn_what_one_learns_from_what_they_exchange(number, exchange, apart, alone, tmp_path):
    first, *others = work_together(learn, exchange, apart, folder=tmp_path, processes=number)
    assert list(first) == list(alone)[::apart]
    for case, here in first.items():
        for there in others:
            for name, tensor in here["state"].items():
                assert torch.equal(tensor, there[case]["state"][name]), (case, name)
            assert here["exchanged"] == there[case]["exchanged"], case
        torch.testing.assert_close(here["state"], alone[case]["state"], rtol=1e-9, atol=1e-9, msg=case)
        torch.testing.assert_close(here["logged"], alone[case]["logged"], rtol=1e-9, atol=1e-9, msg=case)
        for n, (gathered, summed, phases, updates, inputs) in zip(BATCHES, here["exchanged"], strict=True):
            if n < number:
                assert gathered == number * inputs, (case, n)
                assert summed == 0, (case, n)
                continue
            rows = -(-n // number) * number  # the shorter shares are filled up
            choice = vars(getattr(bioplausible, case.split(",")[0])).get(
                "exchange", exchange
            )  # some rules have but one
            assert gathered == (phases // n * rows if choice == "phases" else 0), (case, n)
            if not any(
                word in case for word in ("track_correlations", "power", "peer", "step_size_discount")
            ):  # what they average besides is not counted
                assert summed == (0 if choice == "phases" else updates // 2), (case, n)


def test_one_process_exchanges_nothing(alone):
    assert all(gathered == summed == 0 for case in alone.values() for gathered, summed, *_ in case["exchanged"])


# ---------------------------------------------------------------------------------------------------------------- bytes

CONVOLUTION = [[1, 28, 28], {"conv": 32, "kernel": 5, "pool": {"max": 2}}, {"conv": 64, "kernel": 5, "pool": "max"}, 10]
BYTES = {
    # samples of r_0 and, of the free and the nudged phase, r_1 … r_L and their last iteration's; W and b
    (EquilibriumPropagation, "784-500-10"): (
        784 + 4 * 510,
        784 * 500 + 500 + 500 * 10 + 10,
    ),
    (EquilibriumPropagation, "convolution"): (
        28 * 28 + 4 * (32 * 12 * 12 + 64 * 4 * 4 + 10),
        (32 * 25 + 32) + (64 * 32 * 25 + 64) + (10 * 64 * 4 * 4 + 10),
    ),
    # also of both phases u_1 … u_L; W, V and B
    (CorInfoMax, "784-500-10"): (
        784 + 6 * 510,
        784 * 500 + 2 * 500 * 10 + 500 * 500 + 10 * 10,
    ),
    (CorInfoMax, "convolution"): (
        28 * 28 + 6 * (32 * 12 * 12 + 64 * 4 * 4 + 10),
        32 * 25 + 2 * 64 * 32 * 25 + 2 * 10 * 64 * 4 * 4 + 32 * 32 + 64 * 64 + 10 * 10,
    ),
}
"""Numbers of float32 of one sample's phases, and of all updates, by the rules' equations."""
SAMPLES = {"784-500-10": (20, 4096), "convolution": (128, 4096)}


def bytes_a_step(cls, name: str, samples: int) -> Exchange:
    rule = cls([784, 500, 10]) if name == "784-500-10" else cls(network=CONVOLUTION)
    x = torch.rand(3, *rule.network.shapes[0])
    return Exchange.of(rule, rule.settle(x, rule.one_hot(torch.arange(3), x.dtype)), samples)


@pytest.mark.parametrize(("cls", "name"), BYTES, ids=str)
def test_bytes_a_step_are_those_of_the_equations(cls, name):
    sample, updates = BYTES[cls, name]
    for n in SAMPLES[name]:
        assert bytes_a_step(cls, name, n) == Exchange(n * 4 * sample, 2 * 4 * updates)


def test_the_smaller_is_chosen():
    assert Exchange(10, 12).smaller == Exchange(10, 10).smaller == "phases"
    assert Exchange(10, 8).smaller == "updates"
    chosen = {(name, n): bytes_a_step(CorInfoMax, name, n).smaller for name in SAMPLES for n in SAMPLES[name]}
    assert chosen == {
        ("784-500-10", 20): "phases",
        ("784-500-10", 4096): "updates",
        ("convolution", 128): "updates",
        ("convolution", 4096): "updates",
    }


def choose(sizes: list[int], numbers: list[int]) -> list[bool]:
    """Returns, for each number of samples a batch, whether this process learned from its share alone."""
    rule = build(EquilibriumPropagation, sizes)
    optimizer = rule.optimizer(rule.parameter_groups())
    found = []
    for n in numbers:
        x, _, target = batch(sizes, n)
        found.append(rule.learn(share(x), share(target), optimizer)["free"].share_of == n)
    return found


def test_training_chooses_by_itself(tmp_path):
    """7-6-5-4: 67 numbers a sample, 107 updates and biases there and back: phases up to 3 samples."""
    sizes = [7, 6, 5, 4]
    sample, updates = 7 + 4 * 15, 7 * 6 + 6 * 5 + 5 * 4 + 15
    most = 2 * updates // sample
    assert most == 3
    numbers = [most, most + 1, 40]
    assert work_together(choose, sizes, numbers, folder=tmp_path) == [[False, True, True]] * 2


def table() -> list[str]:
    """Returns the rows of the table in tests/benchmarks/README.md."""
    rows = [
        "| rule | network | batch | phases, MB | updates, MB | exchanged |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for cls, name in BYTES:
        for n in SAMPLES[name]:
            found = bytes_a_step(cls, name, n)
            mega = f"{found.phases / 1e6:.2f} | {found.updates / 1e6:.2f}"
            rows.append(f"| {cls.__name__} | {name} | {n} | {mega} | {found.smaller} |")
    return rows


def test_the_benchmark_shows_the_bytes_a_step():
    """``python -m pytest -rP -k bytes_a_step tests/training/test_exchange.py`` prints the table."""
    rows = table()
    print("\n".join(rows))
    assert "\n".join(rows) in (ROOT / "tests/benchmarks/README.md").read_text()


# ----------------------------------------------------------------------------------------------- the mean of all shares


def averages(samples: list[int]) -> list[torch.Tensor]:
    """Returns means over the rows of all processes, and a matrix that they have in common, averaged often."""
    n = samples[rank()]
    rows = torch.arange(float(sum(samples)))[sum(samples[: rank()]) :][:n, None, None] * torch.ones(3, 4) / 7
    same = torch.linspace(-1, 1, 1001)
    for _ in range(1000):
        (same,) = average([same], n, sum(samples))
    return [*average([rows.mean(0), rows.double().square().mean()], n, sum(samples)), same]


@pytest.mark.parametrize("samples", [[4, 3], [33, 32], [10, 10, 9]], ids=str)
def test_the_mean_is_weighted_by_samples_and_the_same_bits_everywhere(samples, tmp_path):
    first, *others = work_together(averages, samples, folder=tmp_path, processes=len(samples))
    rows = torch.arange(float(sum(samples))).double() / 7
    for there in others:
        assert all(torch.equal(a, b) for a, b in zip(first, there, strict=True))
    mean, square, same = first
    torch.testing.assert_close(mean, rows.mean().float().expand(3, 4))
    assert square.dtype == torch.float64
    torch.testing.assert_close(square, rows.square().mean(), rtol=1e-6, atol=0)
    # 33/65 and 32/65 in float32 add up to 1 + 6e-8, which would be 2e-6 here
    torch.testing.assert_close(same, torch.linspace(-1, 1, 1001), rtol=1e-6, atol=0)


# ------------------------------------------------------------------------------------------------------------ observers


def guarded(what: str) -> list[str]:
    """Returns what Guard says on this process where one process's share alone has failed, and where nothing has."""
    LearningRule.exchange = "updates"
    said = []
    for failed in (False, True):
        rule = build(EquilibriumPropagation, step_size=0.5, free_steps=200, nudged_steps=200)
        optimizer = rule.optimizer(rule.parameter_groups())
        x, y, target = batch(n=9)
        rule.phases = rule.learn(share(x), share(target), optimizer)
        assert rule.phases["nudged"].share_of == 9
        rule.classes, rule.output = y, torch.eye(4, dtype=x.dtype)[y]
        if failed and rank() == processes() - 1:
            nudged = rule.phases["nudged"]
            if what == "residual":  # of this share 0.6, of the batch below the limit with two processes' others
                nudged.previous[1] = nudged.activity[2] - 0.3
            else:
                nudged.activity[2][0, 1] = float(what)
        try:
            Guard(limit=100).look(rule, 5)
            said.append("")
        except UserError as error:
            said.append(str(error))
    return said


@pytest.mark.parametrize("what", ["1e6", "inf", "nan"])
def test_guard_stops_all_processes_where_one_has_failed(what, tmp_path):
    first, *others = work_together(guarded, what, folder=tmp_path)
    assert first[0] == ""
    assert "layer 2 in the nudged phase" in first[1]
    assert [first] * len(others) == others


def test_guard_looks_at_the_residual_of_the_whole_batch(tmp_path):
    """One of two shares moves at 0.6: 4 of 9 samples, 0.6 √(4/9) = 0.4 of the batch, below the limit of 0.5."""
    (tmp_path / "2").mkdir()
    assert work_together(guarded, "residual", folder=tmp_path / "2") == [["", ""]] * 2


def test_a_feedback_that_is_drawn_each_batch_is_the_same_in_all_processes(tmp_path):
    first, second = work_together(drawn, folder=tmp_path)
    assert torch.equal(first, second)


def drawn() -> torch.Tensor:
    torch.manual_seed(0)
    rule = build(FeedbackAlignment, feedback="batchwise_random_sign")
    x, _, target = batch()
    rule.learn(share(x), share(target), rule.optimizer(rule.parameter_groups()))
    return rule.network.chain[1].feedback_weight


def persist() -> str:
    """Returns what equilibrium propagation says of states that persist."""
    rule = build(EquilibriumPropagation, persistent_states=True)
    x, _, target = batch()
    with pytest.raises(UserError) as refused:
        rule.learn(share(x), share(target), rule.optimizer(rule.parameter_groups()))
    return str(refused.value)


def test_states_of_samples_that_move_to_other_processes_do_not_persist(tmp_path):
    sentences = work_together(persist, folder=tmp_path)
    assert all(sentence.startswith("persistent_states needs one process") for sentence in sentences)


# -------------------------------------------------------------------------------------------------------------- complex


def of_complex() -> list[torch.Tensor]:
    """Returns what the processes join and average of complex and real tensors."""
    z, r = complex_batch()
    mine, real = share(z), share(r)
    means = average([mine.mean(0), real.mean(0), mine.conj().mean(0)], len(mine), len(z))
    phase = Phase([real, mine], previous=[mine - 0.3j], share_of=len(z))
    return [*join([mine, real]), *means, phase.residual()]


def complex_batch() -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return torch.randn(7, 3, 2, generator=g, dtype=torch.complex128), torch.randn(7, 4, generator=g)


def test_complex_tensors_are_exchanged(tmp_path):
    z, r = complex_batch()
    for here in work_together(of_complex, folder=tmp_path):
        assert torch.equal(here[0], z)
        assert torch.equal(here[1], r)
        torch.testing.assert_close(here[2:5], [z.mean(0), r.mean(0), z.conj().mean(0).resolve_conj()])
        torch.testing.assert_close(here[5], torch.tensor(0.3, dtype=torch.float64))
