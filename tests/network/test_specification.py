"""A network in a few lines: what is read, what is refused in which words, and what the table says of it."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from pytorch_lightning import Trainer

from bioplausible import Backpropagation, CorInfoMax, DigitsDataModule, EquilibriumPropagation
from bioplausible.__main__ import main
from bioplausible.errors import UserError
from bioplausible.network import Connection, Convolution, Dense, Identity, Local
from tests.helpers import EXAMPLES, NETWORKS, all_rules, batch, build, updates

QUIET = ["--trainer.enable_progress_bar", "false", "--data.init_args.subset_size", "120", "--trainer.max_epochs", "1"]


class Shuffled(Connection):
    """A wiring of a user's own."""

    def __init__(self, pre_shape, step=1, **options):
        self.step = step
        super().__init__(pre_shape, (pre_shape[0],), **options)

    def fans(self, weight_shape):
        return 1, 1

    def transform(self, weight, pre):
        return pre.roll(self.step, 2) * weight.view(-1, 1, 1)


MINE = f"{__name__}.Shuffled"

# --------------------------------------------------------------------------------------------------------- what is read


def test_every_form_of_an_entry_is_read():
    network = yaml.safe_load(f"""
- [2, 12, 13]
- {{conv: 4, kernel: 3, padding: 1, pool: max}}
- {{conv: 4, kernel: 3, stride: 1, padding: 1, skip: 1}}
- {{local: 3, kernel: 2, stride: 2, skip: {{from: 1, stride: 2}}, pool: {{average: 1}}}}
- {{class_path: {MINE}, init_args: {{step: 2}}, pool: average, skip: [{{from: 2, stride: 6}}, {{from: 0, stride: 13}}]}}
- {{dense: 7}}
- 5
""")
    rule = Backpropagation(network=network)
    net = rule.network
    assert net.shapes == [(2, 12, 13), (4, 6, 6), (4, 6, 6), (3, 3, 3), (3, 1, 1), (7,), (5,)]
    found = [(c.pre, c.post, type(c)) for c in net.connections]
    assert found == [
        (0, 1, Convolution),
        (1, 2, Convolution),
        (1, 2, Identity),
        (2, 3, Local),
        (1, 3, Convolution),
        (3, 4, Shuffled),
        (2, 4, Convolution),
        (0, 4, Convolution),
        (4, 5, Dense),
        (5, 6, Dense),
    ]
    assert [c.post for c in net.chain] == [1, 2, 3, 4, 5, 6]
    assert [c.pre for c in net.into(4)] == [3, 2, 0]
    assert [c.post for c in net.out_of(1)] == [2, 2, 3]
    first, third, own = net.chain[0], net.chain[2], net.chain[3]
    assert (first.kernel, first.stride, first.padding, first.pool.kind, first.pool.size) == (3, 1, 1, "max", 2)
    assert (third.kernel, third.stride, third.padding, third.pool.kind, third.pool.size) == (2, 2, 0, "average", 1)
    assert (own.step, own.pool.kind, own.pool.size) == (2, "average", 2)
    for skip, stride in ((net.into(3)[1], 2), (net.into(4)[1], 6)):
        assert (skip.kernel, skip.stride, skip.padding, skip.bias) == (1, stride, 0, None)
    names = {name for name, _ in rule.named_parameters()}
    assert {"network.wiring.1.weight", "network.wiring.1.bias", "network.wiring.3_from_1.weight"} <= names


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_sizes_and_a_list_of_dense_layers_are_the_same_network(cls):
    """So are images of the same values, flattened."""
    x, _, y = batch([12, 6, 5, 4])
    expected = None
    forms = [[12, 6, 5, 4], [[12], 6, {"dense": 5}, 4], [[3, 2, 2], {"dense": 6}, 5, 4]]
    for form in forms:
        torch.manual_seed(0)
        options = {"dual_step_sizes": {1: 0.05}} if "Sparse" in cls.__name__ else {}
        rule = cls(form, **options) if form is forms[0] else cls(network=form, **options)
        rule.double()
        found = updates(rule, rule.settle(rule.network.as_input(x), y))
        assert expected is None or found.keys() == expected.keys()
        for name, update in (expected or {}).items():
            torch.testing.assert_close(found[name], update, rtol=1e-12, atol=1e-15)
        expected = found


def test_python_objects_may_stand_in_the_list():
    own = partial(Shuffled, step=2)
    rule = Backpropagation(
        network=[(2, 4, 4), Shuffled, own, lambda shape, **options: Convolution(shape, 3, 2, **options), 4]
    )
    assert [type(c) for c in rule.network.chain] == [Shuffled, Shuffled, Convolution, Dense]
    assert rule.network.chain[1].step == 2


@pytest.mark.parametrize("as_objects", [False, True])
def test_the_network_survives_a_checkpoint(as_objects):
    """Checkpoints load without running code: objects from Python must be given again, all else is in them."""
    own = partial(Shuffled, step=2) if as_objects else {"class_path": MINE, "init_args": {"step": 2}}
    network = [
        [1, 8, 8],
        {"conv": 3, "kernel": 3, "pool": {"max": 2}},
        own,
        {"local": 2, "kernel": 2, "skip": {"from": 1, "stride": 2}},
        10,
    ]
    rule = EquilibriumPropagation(network=network)
    trainer = Trainer(max_steps=2, enable_progress_bar=False, enable_model_summary=False, logger=False)
    trainer.fit(rule, DigitsDataModule(subset_size=60))
    trainer.save_checkpoint("mine.ckpt")
    checkpoint = torch.load("mine.ckpt", weights_only=True)
    assert checkpoint["hyper_parameters"].get("network") == (None if as_objects else network)
    again = {"network": network} if as_objects else {}
    loaded = EquilibriumPropagation.load_from_checkpoint("mine.ckpt", **again)
    assert loaded.network.shapes == rule.network.shapes
    x = torch.rand(3, 1, 8, 8)
    assert torch.equal(loaded(x), rule(x))
    if as_objects:
        with pytest.raises(UserError, match="layer_sizes and network are both missing: give one of them"):
            EquilibriumPropagation.load_from_checkpoint("mine.ckpt")
    with pytest.raises(
        UserError, match=r"has shape \(3,\) for network\.wiring\.1\.bias, the network shape \(4,\): use the network"
    ):
        EquilibriumPropagation.load_from_checkpoint("mine.ckpt", network=[[1, 8, 8], {"conv": 4, "kernel": 3}, 10])


# ------------------------------------------------------------------------------------------------------ what is refused

I, C = [1, 8, 8], {"conv": 4, "kernel": 3, "padding": 1}
OWN = "tests.network.test_specification.Shuffled"
EXAMPLE = "for example [[1, 28, 28], {conv: 32, kernel: 3, stride: 2}, 10]."
NO_LAYER = "give the units of a dense one, or one of dense, conv, local, class_path, for example {conv: 32, kernel: 3}."
FIRST = "its first entry is the input's shape, [channels, height, width] or the number of values."
REFUSED = [
    ("nonsense", f"network is nonsense: give a list of the input's shape and at least one layer, {EXAMPLE}"),
    (5, f"network is 5: give a list of the input's shape and at least one layer, {EXAMPLE}"),
    ({}, "network is {}: give a list"),
    ([10], "network is [10]: give a list"),
    ([[1, 8], 10], f"network starts with [1, 8]: {FIRST}"),
    ([[1, 8, 8, 8], 10], f"network starts with [1, 8, 8, 8]: {FIRST}"),
    ([0, 10], f"network starts with 0: {FIRST}"),
    ([True, 10], f"network starts with True: {FIRST}"),
    ([[1.5, 8, 8], 10], f"network starts with [1.5, 8, 8]: {FIRST}"),
    (["64", 10], f"network starts with '64': {FIRST}"),
    ([I, "ten", 10], f"layer 1 of the network (ten) is no layer: {NO_LAYER}"),
    ([I, C, 1.5], f"layer 2 of the network (1.5) is no layer: {NO_LAYER}"),
    ([I, None, 10], f"layer 1 of the network (None) is no layer: {NO_LAYER}"),
    ([I, {}, 10], f"layer 1 of the network ({{}}) is no layer: {NO_LAYER}"),
    ([I, {"conv": 4, "dense": 3}, 10], f"layer 1 of the network (conv 4, dense 3) is no layer: {NO_LAYER}"),
    ([I, {"conv": 4}, 10], "layer 1 of the network (conv 4) has no kernel: give its side, for example kernel: 3."),
    (
        [I, {"conv": 0, "kernel": 3}, 10],
        "(conv 0, kernel 3) has 0 channels: give a whole number between 1 and 10000000.",
    ),
    ([I, {"dense": 2.5}, 10], "layer 1 of the network (dense 2.5) has 2.5 units: give a whole number between 1 and"),
    ([I, {"conv": 4, "kernel": [3, 3]}, 10], "has the kernel [3, 3]: give a whole number of pixels, at least 1."),
    ([I, {**C, "stride": 0}, 10], "has the stride 0: give a whole number of pixels, at least 1."),
    ([I, {**C, "padding": "same"}, 10], "has the padding 'same': give a whole number of pixels, at least 0."),
    ([I, {**C, "padding": -1}, 10], "has the padding -1: give a whole number of pixels, at least 0."),
    ([I, {**C, "pool": "mean"}, 10], "has the pool mean: give max, average or soft, or its size too, as {max: 3}."),
    (
        [I, {**C, "pool": {"max": 0}}, 10],
        "has the pool max 0: give max, average or soft, or its size too, as {max: 3}.",
    ),
    ([I, {**C, "pool": 2}, 10], "has the pool 2: give max, average or soft"),
    (
        [I, {**C, "pool": {"max": 9}}, 10],
        "layer 1 of the network (conv 4, kernel 3, padding 1, pool {max 9}) does not fit its input 1 × 8 × 8: there is"
        " nothing to pool by 9 × 9 in 4 × 8 × 8: leave out pool, or take a smaller one.",
    ),
    (
        [I, {"dense": 5, "pool": "max"}, 10],
        "layer 1 of the network (dense 5, pool max) has the key pool: dense takes skip, gain.",
    ),
    ([I, {**C, "kernl": 3}, 10], "has the key kernl: conv takes kernel, stride, padding, pool, skip, gain."),
    (
        [I, 5, C, 10],
        "layer 2 of the network (conv 4, kernel 3, padding 1) does not fit its input 5: its input 5 is no image: put it"
        " before the first dense layer.",
    ),
    (
        [64, {"local": 4, "kernel": 3}, 10],
        "layer 1 of the network (local 4, kernel 3) does not fit its input 64: its input",
    ),
    (
        [I, {"conv": 4, "kernel": 9}, 10],
        "layer 1 of the network (conv 4, kernel 9) does not fit its input 1 × 8 × 8: its kernel of 9 × 9 is larger than"
        " its input 1 × 8 × 8 with padding 0: take a smaller kernel, a larger padding, or less pooling and stride"
        " before it.",
    ),
    ([I, {**C, "skip": 1}, 10], "has a skip from 1: give the number of an earlier layer, 0 … 0."),
    ([I, C, {**C, "skip": -1}, 10], "has a skip from -1: give the number of an earlier layer, 0 … 1."),
    ([I, C, {**C, "skip": "1"}, 10], "has a skip from '1': give the number of an earlier layer"),
    (
        [I, C, {**C, "skip": {"to": 1}}, 10],
        "has the skip to 1: give an earlier layer's number, or {from: 1, stride: 2} for",
    ),
    ([I, C, {**C, "skip": {"stride": 2}}, 10], "has a skip from None: give the number of an earlier layer"),
    ([I, C, {**C, "skip": {"from": 1, "stride": 0}}, 10], "has a skip with the stride 0: give a whole number."),
    ([I, C, {**C, "skip": [1, 1]}, 10], "has two skips from the same layer: leave out one."),
    (
        [I, {**C, "skip": 0}, 10],
        "layer 1 of the network (conv 4, kernel 3, padding 1, skip 0) receives 4 × 8 × 8 from the layer before it and 1"
        " × 8 × 8 from layer 0, 1 × 8 × 8: give skip: {from: 0, stride: …} for a 1 × 1 convolution whose stride makes"
        " them agree.",
    ),
    (
        [I, C, {**C, "skip": {"from": 1, "stride": 2}}, 10],
        "and 4 × 4 × 4 from layer 1, 4 × 8 × 8: choose another stride.",
    ),
    (
        [I, C, {"dense": 10, "skip": 1}],
        "receives 10 from the layer before it and 4 × 8 × 8 from layer 1, 4 × 8 × 8: leave",
    ),
    (
        [I, C, {"dense": 10, "skip": {"from": 1, "stride": 1}}],
        "has a 1 × 1 convolution from layer 1, 4 × 8 × 8: it joins images alone, so leave it out.",
    ),
    (
        [I, C],
        "(conv 4, kernel 3, padding 1) is the output and has the shape 4 × 8 × 8: end with a dense layer of as many",
    ),
    ([I, {"conv": 10**6, "kernel": 1}, 10], "has 1000000 × 8 × 8 neurons: give it between 1 and 10000000."),
    (
        [I, {"class_path": "nowhere.Mine"}, 10],
        "layer 1 of the network (class_path nowhere.Mine): there is no class nowhere.Mine (No module named 'nowhere'):"
        " give a path such as my_module.MyWiring.",
    ),
    ([I, {"class_path": "Mine"}, 10], "there is no class Mine (Empty module name): give a path such as my_module."),
    (
        [I, {"class_path": "torch.nn.Linear"}, 10],
        "torch.nn.Linear is no bioplausible.network.Connection: derive it from",
    ),
    ([I, {"class_path": OWN, "init_args": 3}, 10], "has the init_args 3: give them by name, as {kernel: 3}."),
    ([I, {"class_path": OWN, "kernel": 3}, 10], "has the key kernel: class_path takes init_args, pool, skip, gain."),
    (
        [I, {"class_path": OWN, "init_args": {"stp": 3}}, 10],
        f"layer 1 of the network (class_path {OWN}, init_args {{stp 3}}) does not fit its input 1 × 8 × 8: it can't be"
        " built (Connection.__init__() got an unexpected keyword argument 'stp'): correct its arguments, or its class.",
    ),
    ([64, {"class_path": OWN}, 10], "does not fit its input 64: it can't be built (Dimension out of range"),
]


@pytest.mark.parametrize(("network", "sentence"), REFUSED, ids=[str(network)[:60] for network, _ in REFUSED])
def test_what_is_no_network_is_refused_in_one_sentence(network, sentence):
    with pytest.raises(UserError) as refused:
        Backpropagation(network=network)
    said = str(refused.value)
    assert sentence in said
    assert said.endswith(".")
    assert "\n" not in said


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (
            "[[1, 8, 8], {conv: 4, kernel: 9}, 10]",
            "does not fit its input 1 × 8 × 8: its kernel of 9 × 9 is larger than its",
        ),
        ("[[1, 8, 8], {conv: 4, kernel: 3, pool: mean}, 10]", "has the pool mean: give max, average or soft"),
        ("[[1, 8, 8], ten, 10]", "layer 1 of the network (ten) is no layer"),
        ("[[1, 8, 8], {class_path: nowhere.Mine}, 10]", "there is no class nowhere.Mine"),
        ("[[1, 8, 8], {class_path: torch.nn.Linear}, 10]", "torch.nn.Linear is no bioplausible.network.Connection"),
        ("[[1, 8, 8], {conv: 4, kernel: 3, skip: {from: 0, stride: 3}}, 10]", "choose another stride."),
        ("[[1, 9, 9], {conv: 4, kernel: 3}, 10]", "The network's input has 81 values, but DigitsDataModule has 64"),
        ("[[4, 4, 4], {conv: 4, kernel: 3}, 10]", "set the first entry of network to [1, 8, 8]."),
        (
            "[[1, 8, 8], {conv: 4, kernel: 3}, 9]",
            "The network's output has 9 units, but DigitsDataModule has 10 classes",
        ),
        ("nonsense", "model.network: Expected a list. Got value: nonsense"),
        ("5", "model.network: Expected a list. Got value: 5"),
    ],
)
def test_the_command_line_says_it_in_one_line(network, sentence, capsys):
    Path("mine.yaml").write_text("model: {class_path: Backpropagation}\ndata: {class_path: DigitsDataModule}\n")
    assert main(["fit", "--config", "mine.yaml", "--model.init_args.network", network, *QUIET]) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1


def test_a_network_takes_the_place_of_a_recipes_sizes(capsys):
    network = ["--model.init_args.network", "[[1, 8, 8], {conv: 4, kernel: 3, pool: {max: 2}}, 10]"]
    for sizes in ([], ["--model.init_args.layer_sizes", "null"]):
        assert main(["fit", *sizes, *network, *QUIET]) == 0
    found = [torch.load(path, weights_only=True) for path in Path().rglob("last.ckpt")]
    assert [ckpt["state_dict"]["network.wiring.1.weight"].shape for ckpt in found] == [(4, 1, 3, 3)] * 2
    both = "{class_path: Backpropagation, init_args: {layer_sizes: [64, 10], network: [[1, 8, 8], 10]}}"
    mine = f"model: {both}\ndata: {{class_path: DigitsDataModule}}"
    assert main(["fit", "--config", mine, *QUIET]) == 2
    assert "layer_sizes and network are both given: set one of them to null" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "layer_sizes and network are both missing: give one of them, for example layer_sizes [784, 500, 10]."),
        ({"layer_sizes": [3, 2], "network": [3, 2]}, "layer_sizes and network are both given: set one of them to null"),
        ({"layer_sizes": [3]}, "layer_sizes is [3]: give at least an input and an output size"),
        ({"layer_sizes": [3, 0]}, "layer_sizes is [3, 0]: give"),
        ({"layer_sizes": [3, 2.5]}, "layer_sizes is [3, 2.5]: give"),
        ({"layer_sizes": [3, 10**8]}, "all between 1 and 10000000"),
    ],
)
def test_sizes_that_are_none_are_refused(options, sentence):
    with pytest.raises(UserError) as refused:
        Backpropagation(**options)
    assert sentence in str(refused.value)


def test_what_is_left_out_has_its_default():
    """Nothing but the output; a skip by a convolution of stride 1."""
    assert build(Backpropagation, [[1, 8, 8], 10]).network.shapes == [(1, 8, 8), (10,)]
    (_, skip) = build(Backpropagation, [[1, 8, 8], C, {**C, "conv": 5, "skip": {"from": 1}}, 10]).network.into(2)
    assert (type(skip), skip.stride, skip.post_shape) == (Convolution, 1, (5, 8, 8))


def test_an_input_of_another_shape_is_refused():
    net = build(Backpropagation, [[2, 3, 4], 5, 4]).network
    assert net.as_input(torch.zeros(6, 24)).shape == (6, 2, 3, 4)
    for wrong, shape in ((torch.zeros(6, 25), "25"), (torch.zeros(6, 2, 4, 3), "2 × 4 × 3")):
        with pytest.raises(
            UserError, match=rf"The input has the shape {shape}, the network's first layer 2 × 3 × 4: let them"
        ):
            net.as_input(wrong)
    assert build(Backpropagation, [24, 5, 4]).network.as_input(torch.zeros(6, 2, 3, 4)).shape == (6, 24)


# ------------------------------------------------------------------------------------------------------------ the table


def test_the_table_says_what_each_layer_is_and_costs():
    """Weights with biases; two operations for each multiplication with a weight."""
    network = [
        [3, 12, 12],
        {"conv": 4, "kernel": 3, "padding": 1, "pool": "max"},
        {"conv": 4, "kernel": 3, "padding": 1, "skip": 1},
        {"local": 2, "kernel": 2, "stride": 2, "skip": {"from": 1, "stride": 2}},
        {"class_path": MINE},
        10,
    ]
    columns = ["layer", "shape", "wiring", "weights", "kFLOP"]
    expected = [
        ("0", "3 × 12 × 12", "input", "", ""),
        # 4 · 3 · 9 + 4 weights, each used at 144 positions
        ("1", "4 × 6 × 6", "conv 4, 3 × 3, padding 1, max pool 2", "112", f"{2 * 108 * 144 / 1e3:.1f}"),
        ("2", "4 × 6 × 6", "conv 4, 3 × 3, padding 1", "148", f"{2 * 144 * 36 / 1e3:.1f}"),
        ("", "", "identity from layer 1", "0", "0.0"),
        # 2 · 4 · 4 weights at each of 9 positions, each used once
        ("3", "2 × 3 × 3", "local 2, 2 × 2, stride 2", "290", f"{2 * 288 / 1e3:.1f}"),
        ("", "", "conv 2, 1 × 1, stride 2 from layer 1", "8", f"{2 * 8 * 9 / 1e3:.1f}"),
        ("4", "2 × 3 × 3", "Shuffled", "4", "0.0"),  # an operation that torch's counter does not know
        ("5", "10", "dense 10", "190", f"{2 * 180 / 1e3:.1f}"),
    ]
    for precision in ("float", "double"):
        rule = getattr(Backpropagation(network=network), precision)()
        name, heading, *lines = str(rule).partition("\n\n")[0].splitlines()  # the settings follow
        assert name == "Backpropagation"
        assert heading.split() == columns
        assert len(lines) == len(expected)
        starts = [heading.index(column) for column in columns[:3]]
        for line, (layer, shape, wiring, weights, operations) in zip(lines, expected, strict=True):
            assert line[starts[0] :].startswith(layer)
            assert line[starts[1] : starts[2]].strip() == shape
            assert line[starts[2] :].startswith(wiring)
            assert line[starts[2] + len(wiring) :].split() == ([weights, operations] if weights else [])
    lateral = str(CorInfoMax(network=network)).splitlines()
    # no biases; 4 · 4 weights at 36 positions
    assert [line.split()[-2:] for line in lateral if "lateral, 4 × 4" in line] == [
        ["16", f"{2 * 16 * 36 / 1e3:.1f}"]
    ] * 2
    assert [line.split()[-2:] for line in lateral if "conv 4, 3 × 3, padding 1, max" in line] == [["108", "31.1"]]


@pytest.mark.parametrize("network", NETWORKS)
def test_the_table_counts_every_parameter_once(network):
    rule = build(EquilibriumPropagation, network)
    counted = sum(int(line.split()[-2].replace(",", "")) for line in rule.network.table().splitlines()[2:])
    assert counted == sum(p.numel() for p in rule.parameters())


def test_the_example_is_importable_as_the_documentation_says(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    entry = {"class_path": "depthwise_convolution.DepthwiseConvolution", "init_args": {"kernel": 5}, "pool": "average"}
    rule = Backpropagation(network=[[6, 8, 8], entry, 10])
    assert rule.network.chain[0].weight.shape == (6, 1, 5, 5)
    assert rule.network.shapes[1] == (6, 4, 4)
