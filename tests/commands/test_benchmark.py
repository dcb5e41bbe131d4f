"""The benchmark works and counts what the equations need; no step holds more memory than it should."""

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
import yaml

from bioplausible import CorInfoMax, EquilibriumPropagation, PredictiveCoding
from bioplausible.__main__ import main
from bioplausible.commands import benchmark
from bioplausible.commands.benchmark import growth, other_nets, recipe_files, table
from bioplausible.commands.benchmark.cost import Cost, cost, peak_memory
from bioplausible.commands.benchmark.recipe_files import recipe_rule
from bioplausible.commands.benchmark.whole_training import Clock
from bioplausible.commands.recipes import snake_case
from bioplausible.lightning_internals import TorchDispatchMode
from bioplausible.training.products import Products
from tests.helpers import CONFIGS, ROOT, all_rules, batch, build


def test_it_measures_whole_training(capsys):
    recipe = str(CONFIGS / "digits/equilibrium_propagation.yaml")
    assert main(["benchmark", recipe, "--batches", "130"]) == 0
    out = capsys.readouterr().out
    assert "20 x 500 x 500" in out
    row = out.splitlines()[-1].split()
    assert row[0] == "digits/equilibrium_propagation"
    assert all(float(number.rstrip("%")) == float(number.rstrip("%")) for number in row[1:])
    assert len(row) == 8


def test_it_takes_the_published_recipes_where_none_is_named(capsys, monkeypatch):
    cheap = Cost(1, 1.0, 1.0, 1)
    monkeypatch.setattr(table, "cost", lambda rule, n: cheap)
    assert main(["benchmark", "--batches", "0"]) == 0
    rows = capsys.readouterr().out.partition("recipe ")[2].splitlines()[1:]
    rules = {snake_case(cls.__name__) for cls in all_rules()}
    with_recipe = rules & {path.stem for path in (CONFIGS / "fashion_mnist").glob("*.yaml")}
    assert len(with_recipe) >= 8
    assert sorted(row.split()[0] for row in rows) == sorted(f"fashion_mnist/{rule}" for rule in with_recipe)


def test_the_least_number_of_batches_gives_one_window():
    clock = Clock()
    assert clock.warm_up + clock.window + 1 == benchmark.LEAST
    clock.times = [float(i) for i in range(benchmark.LEAST)]
    assert clock.milliseconds == 1000


def test_a_rule_of_ones_own_is_measured_too(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "tests" / "examples")
    assert main(["benchmark", str(ROOT / "tests/examples/brainprop.yaml"), "--batches", "0"]) == 0
    assert "examples/brainprop" in capsys.readouterr().out


@pytest.mark.thorough
def test_it_sweeps(capsys, monkeypatch):
    cheap = Cost(1, 1.0, 1.0, 1)
    seen = []
    monkeypatch.setattr(growth, "cost", lambda rule, n, rounds: seen.append((rule.network.sizes, n)) or cheap)
    with torch.device("meta"):  # networks without numbers: B of 4096 units takes a second
        for recipe in recipe_files.of_all_rules():
            assert main(["benchmark", str(CONFIGS / "digits" / recipe.name), "--sweep"]) == 0
    rows = capsys.readouterr().out
    assert "batch size 4096" in rows
    assert "free_steps 80" in rows
    assert "inference_steps 80" in rows
    assert ([64, *[200] * 15, 10], 20) in seen
    assert ([64, 4096, 10], 20) in seen


@pytest.fixture
def on_images(tmp_path):
    """A recipe whose network is a list of layers."""
    config = yaml.safe_load((CONFIGS / "digits/equilibrium_propagation.yaml").read_text())
    del config["model"]["init_args"]["layer_sizes"]
    config["model"]["init_args"]["network"] = [[1, 8, 8], {"conv": 4, "kernel": 3, "pool": "max"}, 10]
    recipe = tmp_path / "recipes/equilibrium_propagation_conv.yaml"
    recipe.parent.mkdir()
    recipe.write_text(yaml.safe_dump(config))
    return str(recipe)


def test_it_measures_a_network_on_images(on_images, capsys):
    assert main(["benchmark", on_images, "--batches", str(benchmark.LEAST)]) == 0
    row = capsys.readouterr().out.splitlines()[-1].split()
    assert row[0] == "recipes/equilibrium_propagation_conv"
    assert len(row) == 8
    assert float(row[1]) > 0
    assert float(row[4].rstrip("%")) > 0


def test_of_a_network_on_images_it_sweeps_batch_size_channels_depth_and_iterations(on_images, capsys, monkeypatch):
    cheap, seen = Cost(1, 1.0, 1.0, 1), []

    def noted(rule, n, rounds):
        seen.append((n, rule.free_steps, rule.network.shapes[1:-1]))
        return cheap

    monkeypatch.setattr(growth, "cost", noted)
    assert main(["benchmark", on_images, "--sweep"]) == 0
    as_it_is = [(4, 3, 3)]
    expected = [(n, 20, as_it_is) for n in (20, 80, 320, 1280, 4096)]
    expected += [(20, 20, [(channels, 3, 3)]) for channels in (2, 4, 8, 16)]
    expected += [(20, 20, as_it_is * hidden) for hidden in (1, 2, 4, 8)]
    expected += [(20, t, as_it_is) for t in (10, 20, 40, 80)]
    assert seen == expected
    named = re.findall(r"(?:channels|depth) \d+", capsys.readouterr().out)
    assert named == [*(f"channels {c}" for c in (2, 4, 8, 16)), *(f"depth {L}" for L in (2, 3, 5, 9))]


@pytest.mark.parametrize(
    ("network", "measured"),
    [
        # half of one channel is one, which the skip takes
        ([[1, 8, 8], {"conv": 4, "kernel": 3, "padding": 1}, {"conv": 1, "kernel": 3, "padding": 1, "skip": 0}, 10], 2),
        ([64, 10, 20, {"dense": 10, "skip": 1}], 1),
    ],
)
def test_a_network_whose_identity_skips_allow_no_other_width_is_measured_as_it_is(
    network, measured, on_images, capsys, monkeypatch
):
    monkeypatch.setattr(growth, "cost", lambda rule, n, rounds: Cost(1, 1.0, 1.0, 1))
    config = yaml.safe_load(Path(on_images).read_text())
    config["model"]["init_args"] |= {"network": network, "learning_rates": 0.05}
    Path(on_images).write_text(yaml.safe_dump(config))
    assert main(["benchmark", on_images, "--sweep"]) == 0
    out = capsys.readouterr().out
    assert "free_steps 80" in out
    assert len(re.findall(r"channels \d+ +\d", out)) == measured
    assert len(re.findall(r"channels \d+ left out: .+ layer", out)) == 4 - measured


@pytest.mark.parametrize(
    "options",
    [
        {"network": [{"conv": 4, "kernel": 3, "padding": 1}]},
        {"network": None},
        {"layer_sizes": [20], "network": None},
    ],
)
def test_a_recipe_that_describes_no_network_gets_one_sentence(options, on_images, capsys):
    config = yaml.safe_load(Path(on_images).read_text())
    config["model"]["init_args"] |= options
    Path(on_images).write_text(yaml.safe_dump(config))
    assert main(["benchmark", on_images, "--sweep"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_layers_of_every_kind_are_widened_and_a_network_without_convolutions_is_not_deepened():
    layers = [[1, 8, 8], {"conv": 4, "kernel": 3, "gain": 2}, {"local": 3, "kernel": 3}, {"dense": 20}, 30, 10]
    wide = [[1, 8, 8], {"conv": 8, "kernel": 3, "gain": 2}, {"local": 6, "kernel": 3}, {"dense": 40}, 60, 10]
    assert other_nets.wider(layers, 2) == wide
    assert other_nets.wider([[1, 8, 8], {"conv": 1, "kernel": 3}, 10], 0.5) == [[1, 8, 8], {"conv": 1, "kernel": 3}, 10]
    more = {"conv": 3, "kernel": 3, "padding": 1}
    assert other_nets.deeper(layers, 2, 2) == [*layers[:3], more, more, *layers[3:]]
    assert other_nets.last_on_images(layers) == 2
    assert other_nets.last_on_images([[1, 8, 8], 20, 10]) is None
    skips = [[1, 8, 8], {"conv": 4, "kernel": 3}, {"dense": 8, "skip": 1}, {"dense": 8, "skip": [2, {"from": 2}]}, 10]
    more = {"conv": 4, "kernel": 3, "padding": 1}
    assert other_nets.deeper(skips, 1, 2) == [
        *skips[:2], more, more, skips[2], {"dense": 8, "skip": [4, {"from": 4}]}, 10
    ]  # fmt: skip
    assert other_nets.sparse_of_deeper({1: 0.1, 2: 0.2, 3: 0.3}, last=2, more=2) == {
        1: 0.1,
        2: 0.2,
        3: 0.2,
        4: 0.2,
        5: 0.3,
    }
    assert other_nets.sparse_of_deeper({1: 0.1, 3: 0.3}, last=2, more=2) == {1: 0.1, 5: 0.3}
    assert other_nets.wider([[1, 8, 8], 10], 2) is None
    assert other_nets.wider([[1, 8, 8], {"class_path": "mine.Wiring"}, 10], 2) is None


@pytest.mark.parametrize(
    "args",
    [
        ["nothing.yaml"],
        ["--threads", "0"],
        ["--batches", "many"],
        ["--nonsense"],
        ["--batches", "50"],
        [str(ROOT / "README.md")],
    ],
)
def test_bad_input_gets_one_sentence(args, capsys):
    assert main(["benchmark", *args]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_products_of_equilibrium_propagation_are_those_of_its_equations():
    """W_1 x once; per iteration W_2 r_1 and W_2ᵀ r_2; the contrast of layer 1 as one product, of layer 2 as two."""
    n, (d0, d1, d2), steps = 20, (64, 30, 10), 20 + 4
    recipe = CONFIGS / "digits/equilibrium_propagation.yaml"
    measured = cost(recipe_rule(recipe, layer_sizes=[d0, d1, d2]), n, rounds=1)
    assert measured.operations == 2 * n * (2 * d0 * d1 + steps * 2 * d1 * d2 + 2 * d1 * d2)


@pytest.mark.parametrize("pool", [None, "max", "average"])
def test_products_and_convolutions_of_equilibrium_propagation_are_those_of_its_equations(pool):
    """Of W * x once; of each iteration those of layers 2 and 3, up and down; the contrast as one, then two of each.

    With max pooling the winners are found anew where a phase starts, and in each phase that learning looks at.
    """
    convolutions = {"conv": 4, "kernel": 3, "padding": 1}, {"conv": 6, "kernel": 2, "padding": 1, "pool": pool}
    rule = EquilibriumPropagation(network=[[3, 7, 6], *convolutions, 10], free_steps=5, nudged_steps=3)
    n, steps = 8, 5 + 3
    W_1 = 2 * (7 * 6) * 4 * (3 * 3 * 3)  # positions, channels, and what each of them sees
    W_2 = 2 * (8 * 7) * 6 * (4 * 2 * 2)
    W_3 = 2 * 10 * 6 * (8 * 7 if pool is None else 4 * 3)
    winners = (2 + 2) * W_2 if pool == "max" else 0
    of_a_sample = W_1 + steps * 2 * (W_2 + W_3) + winners + W_1 + 2 * W_2 + 2 * W_3
    assert cost(rule, n, rounds=1).operations == n * of_a_sample


def test_products_of_locally_connected_layers_are_those_of_the_equations():
    rule = PredictiveCoding(network=[[3, 5, 5], {"local": 4, "kernel": 3}, {"local": 6, "kernel": 2}, 10])
    n, T = 8, rule.hparams.inference_steps
    W_1, W_2, W_3 = 2 * 9 * 4 * (3 * 9), 2 * 4 * 6 * (4 * 4), 2 * 10 * (6 * 4)
    # the feedforward pass; each iteration's predictions and what comes back; the last errors; learning
    of_a_sample = W_1 + W_2 + W_3 + T * 2 * (W_2 + W_3) + W_2 + W_3 + W_1 + W_2 + W_3
    assert cost(rule, n, rounds=1).operations == n * of_a_sample


def test_products_of_lateral_weights_are_those_of_the_equations():
    """Of each position: B r in each iteration; to learn, z = B r and ⟨z z⟩; the errors and contrasts of W and V."""
    network = [[3, 5, 5], {"conv": 4, "kernel": 3}, {"conv": 6, "kernel": 2}, 10]
    rule = CorInfoMax(network=network, free_steps=5, nudged_steps=3)
    n, steps = 8, 5 + 3
    W_1, W_2, W_3 = 2 * 9 * 4 * (3 * 9), 2 * 4 * 6 * (4 * 4), 2 * 10 * (6 * 4)
    B = 2 * (9 * 4**2 + 4 * 6**2 + 10**2)
    learning = W_1 + (2 + 2) * (W_2 + W_3) + (2 + 2) * (W_2 + W_3) + 2 * B
    of_a_sample = W_1 + steps * (2 * (W_2 + W_3) + B) + learning
    assert cost(rule, n, rounds=1).operations == n * of_a_sample


NETS = {
    "dense": [300, 200, 100, 10],
    "convolution": [
        [3, 12, 12],
        {"conv": 8, "kernel": 3, "padding": 1},
        {"conv": 12, "kernel": 3, "stride": 2, "padding": 1},
        10,
    ],
    "max pool": [
        [3, 12, 12],
        {"conv": 8, "kernel": 3, "padding": 1, "pool": "max"},
        {"conv": 12, "kernel": 3, "padding": 1, "pool": "average"},
        10,
    ],
    "local": [
        [3, 12, 12],
        {"local": 8, "kernel": 3, "padding": 1},
        {"local": 12, "kernel": 3, "stride": 2, "padding": 1},
        10,
    ],
    "skip": [
        [3, 12, 12],
        {"conv": 8, "kernel": 3, "padding": 1},
        {"conv": 8, "kernel": 3, "padding": 1, "skip": [1, {"from": 0}]},
        10,
    ],
}


class Seen(TorchDispatchMode):
    """Counts the calls of torch's operators by the shapes and strides of their tensors."""

    def __init__(self):
        super().__init__()
        self.calls = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [a for a in [*args, *(kwargs or {}).values()] if isinstance(a, torch.Tensor)]
        self.calls[(function, *((a.shape, a.stride()) for a in tensors))] += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_what_is_timed_alone_is_what_the_step_computes(cls, net):
    """The same operator, on tensors of the same shapes that lie alike; so its time can be a share of the step's."""
    rule = build(cls, NETS[net]).float()
    x, _, target = (a.float() for a in batch(NETS[net], n=3))
    optimizer = rule.optimizer(rule.parameter_groups())
    with Seen() as seen, Products() as products:
        rule.learn(x, target, optimizer)
    works = {product: product.work(torch.device("cpu")) for product in products.counts}
    with Seen() as alone, torch.no_grad():
        for product, work in works.items():
            for _ in range(products.counts[product]):
                work()
    assert sum(alone.calls.values()) >= 3 * 3 - 1  # forwards, feedback and update of three layers
    assert alone.calls == {call: count for call, count in seen.calls.items() if call[0] in {p.operator for p in works}}


@pytest.mark.sampled
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("n", [20, 150])
def test_a_step_holds_its_gradients_and_a_small_multiple_of_the_activities(cls, n, net):
    """Nothing of size n × d_k × d_{k−1}, as a product for each sample would be.

    Beside gradients and what an update of the largest layer needs for the while: at n = 150 up to 3.6 numbers a neuron
    and sample in the dense network, and 9.9, 10.8, 9.4 and 10.4 in the others, in the order above.
    """
    rule = build(cls, NETS[net]).float()
    x, _, target = (a.float() for a in batch(NETS[net], n=n))
    optimizer = rule.optimizer(rule.parameter_groups())
    rule.learn(x, target, optimizer)  # the optimizer makes its state
    optimizer.zero_grad()  # what it gives up would hide what it holds
    memory = peak_memory(lambda: rule.learn(x, target, optimizer), torch.device("cpu"))
    gradients = sum(p.numel() for p in rule.parameters())
    matrices = max(w.numel() for w in [*rule.parameters(), *(lat.weight for lat in rule.network.laterals.values())])
    assert memory <= 4 * (gradients + 2 * matrices + 12 * n * sum(rule.network.sizes))
    assert memory >= 4 * n * sum(rule.network.sizes[1:])


def test_a_steps_memory_is_the_same_measured_again():
    """The second time the profiler knows how large the gradients are that the step gives up."""
    rule = build(EquilibriumPropagation, [784, 100, 10]).float()
    first, second = (cost(rule, 20, rounds=1).memory for _ in range(2))
    assert first >= 4 * sum(p.numel() for p in rule.parameters())
    assert abs(second - first) < 0.02 * first
