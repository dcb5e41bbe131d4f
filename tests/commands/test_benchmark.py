"""The benchmark works and counts what the equations need; no step holds more memory than it should."""

import pytest

from bioplausible.__main__ import main
from bioplausible.commands import benchmark
from bioplausible.commands.benchmark import Clock
from tests.helpers import CONFIGS, ROOT, all_rules, build


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
    cheap = benchmark.Cost(1, 1.0, 1.0, 1)
    monkeypatch.setattr(benchmark, "cost", lambda rule, n: cheap)
    assert main(["benchmark", "--batches", "0"]) == 0
    rows = capsys.readouterr().out.splitlines()[-len(benchmark.RULES) :]
    assert [row.split()[0] for row in rows] == [f"fashion_mnist/{rule}" for rule in benchmark.RULES]


def test_the_least_number_of_batches_gives_one_window():
    clock = Clock()
    assert clock.warm_up + clock.window + 1 == benchmark.LEAST
    clock.times = [float(i) for i in range(benchmark.LEAST)]
    assert clock.milliseconds == 1000


def test_a_rule_of_ones_own_is_measured_too(monkeypatch, capsys):
    monkeypatch.syspath_prepend(ROOT / "tests" / "examples")
    assert main(["benchmark", str(ROOT / "tests/examples/brainprop.yaml"), "--batches", "0"]) == 0
    assert "examples/brainprop" in capsys.readouterr().out


def test_it_sweeps(capsys, monkeypatch):
    cheap = benchmark.Cost(1, 1.0, 1.0, 1)
    seen = []
    monkeypatch.setattr(benchmark, "cost", lambda rule, n, rounds: seen.append((rule.layer_sizes, n)) or cheap)
    for rule in benchmark.RULES:
        assert main(["benchmark", str(CONFIGS / f"digits/{rule}.yaml"), "--sweep"]) == 0
    rows = capsys.readouterr().out
    assert "batch size 4096" in rows
    assert "free_steps 80" in rows
    assert "inference_steps 80" in rows
    assert ([64, *[200] * 15, 10], 20) in seen
    assert ([64, 4096, 10], 20) in seen


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
    cost = benchmark.cost(benchmark.recipe_rule(recipe, layer_sizes=[d0, d1, d2]), n, rounds=1)
    assert cost.operations == 2 * n * (2 * d0 * d1 + steps * 2 * d1 * d2 + 2 * d1 * d2)


@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("n", [20, 400])
def test_a_step_holds_its_gradients_and_a_small_multiple_of_the_activities(cls, n):
    """Nothing of size n × d_k × d_{k−1}, as a product for each sample would be."""
    sizes = [300, 200, 100, 10]
    rule = build(cls, sizes).float()
    memory = benchmark.cost(rule, n, rounds=1).memory
    gradients = sum(p.numel() for p in rule.parameters())
    matrices = max(200 * 200, 200 * 300)  # what one update needs for the while
    assert memory <= 4 * (gradients + 2 * matrices + 14 * n * sum(sizes))
    assert memory >= 4 * n * sum(sizes[1:])
