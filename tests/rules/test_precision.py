"""Oracle: the same step in float32."""

from functools import partial

import pytest
import torch
from pytorch_lightning import Trainer, seed_everything
from pytorch_lightning.loggers import TensorBoardLogger

from bioplausible import PEPITA, CorInfoMax, DigitsDataModule, IncrementalPredictiveCoding
from bioplausible.errors import UserError
from tests.helpers import VARIANTS, all_rules, batch, build, differences, scalars

NETWORKS = {
    "dense": [64, 30, 20, 10],
    "images": [
        [1, 8, 8],
        {"conv": 6, "kernel": 3, "padding": 1, "pool": "max"},
        {"local": 5, "kernel": 3, "padding": 1, "skip": {"from": 1, "stride": 1}},
        10,
    ],
}


def step(cls, precision, network="dense"):
    """Trains one batch and returns the rule, the activities of its phases and each weight's change."""
    seed_everything(0)
    # not Adam, which makes the same step of a small update and of a large one
    # where weights move between iterations, states follow them
    options = {"update_weights_at": "last"} if cls is IncrementalPredictiveCoding else {}
    rule = build(cls, NETWORKS[network], **options).float()
    rule.optimizer = partial(torch.optim.SGD, lr=0.1)  # of the layers that have no rates of their own
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    trainer = Trainer(max_steps=1, precision=precision, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.fit(rule, DigitsDataModule())
    states = {f"{name} r_{k}": r for name, phase in rule.phases.items() for k, r in enumerate(phase.activity)}
    return rule, states, {name: p.detach() - before[name] for name, p in rule.named_parameters()}


@pytest.mark.sampled
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_mixed_precision_changes_the_hebbian_products_alone(cls, network):
    rule, mixed, changes = step(cls, "bf16-mixed", network)
    _, full, exact = step(cls, "32-true", network)
    assert all(torch.equal(mixed[name], full[name]) for name in full)
    assert {t.dtype for t in rule.state_dict().values() if t.dtype != torch.float64} == {torch.float32}
    weights = [name for name in exact if exact[name].ndim >= 2 and exact[name].any()]
    assert [name for name in weights if torch.equal(changes[name], exact[name])] == []  # of each of them
    for name in weights:  # bfloat16 has 8 bits
        assert torch.nn.functional.cosine_similarity(changes[name].flatten(), exact[name].flatten(), 0) > 0.999, name


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cls", all_rules(), ids=lambda cls: cls.__name__)
def test_what_is_said_of_images_is_the_same_in_mixed_precision(cls, network):
    rule = build(cls, NETWORKS[network]).float()
    x, y, _ = batch(NETWORKS[network], n=20)
    asked = {
        "validation": lambda: {"prediction": rule.validation_step((x, y), 0), "means": rule.val_means.totals},
        "test": lambda: {"prediction": rule.test_step((x, y), 0), "means": rule.test_means.totals},
        "predict": lambda: rule.predict_step((x, y)),
    }
    for name, ask in asked.items():
        full = ask()
        for means in (rule.val_means, rule.test_means):
            means.reset()
        with torch.autocast("cpu", torch.bfloat16):
            mixed = ask()
        assert all(torch.equal(mixed[part], full[part]) for part in full), name


def test_what_is_logged_of_a_batch_is_in_full_precision_too(tmp_path):
    """Correlative information multiplies by weights; no other figure of the built-in rules does."""
    rule = build(CorInfoMax, [64, 20, 10], track_correlations=True).float()
    logger = TensorBoardLogger(tmp_path)
    options = {"precision": "bf16-mixed", "enable_checkpointing": False, "accelerator": "cpu"}
    Trainer(max_steps=1, log_every_n_steps=1, logger=logger, **options).fit(rule, DigitsDataModule())
    logged, expected = scalars(logger.log_dir), rule.dynamics()
    found = {name: logged[name][0][1] for name in expected}
    assert found == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-6)


DRAWING = {**VARIANTS, "PEPITA, dropout": (PEPITA, {"dropout": 0.3})}


@pytest.mark.parametrize("variant", DRAWING)
def test_the_default_type_of_numbers_which_64_true_sets_while_it_trains_changes_nothing(variant):
    """A run in double precision draws what one in single precision does, and so tells its rounding."""
    cls, options = DRAWING[variant]
    learned = []
    for dtype in (torch.float32, torch.float64):
        torch.manual_seed(0)
        rule = build(cls, "max pool" if options.get("points", 1) <= 2 else "soft pool", **options)
        x, _, y = batch("max pool")
        torch.set_default_dtype(dtype)
        try:
            rule.learn(x, y, torch.optim.SGD(rule.parameter_groups(), lr=1e-3))
        finally:
            torch.set_default_dtype(torch.float32)
        learned.append(rule.state_dict())
    assert list(differences(*learned)) == []


@pytest.mark.parametrize("precision", ["16-true", "bf16-true"])
def test_too_low_a_precision_is_refused(precision):
    with pytest.raises(UserError, match="choose 32-true, 64-true or bf16-mixed"):
        step(all_rules()[0], precision)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("precision", ["32-true", "64-true"])
def test_a_rule_of_too_low_a_precision_is_refused_too(dtype, precision):
    rule = build(all_rules()[0], [64, 10]).to(dtype)
    trainer = Trainer(max_steps=1, precision=precision, logger=False, enable_checkpointing=False, accelerator="cpu")
    name = str(dtype).removeprefix("torch.")
    with pytest.raises(UserError, match=rf"network\.wiring\.1\.weight is {name}: small updates .*rule\.float\(\)"):
        trainer.fit(rule, DigitsDataModule())
