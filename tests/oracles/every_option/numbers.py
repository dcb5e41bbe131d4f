"""What a rule computes in three training steps, as one number for each kind of result."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioplausible import UserError
from bioplausible.rules import LearningRule
from bioplausible.training.phase import Phase
from tests.helpers import build_in_double
from tests.oracles.records import Number, projected

KINDS = ("start", "first step", "learned", "updates", "optimizer", "phases", "answers", "scores", "logged")
"""What the numbers of a case are of, in their order."""

TOLERANCE = dict.fromkeys(KINDS, 1e-8) | {"logged": 1e-6}
"""Largest difference that is none, as a share of the norm: what is logged was rounded to float32."""

BATCHES = (5, 5, 3)
"""Samples of each training batch: states that persist do so from the first to the second. Then an epoch ends."""

EPOCH_ENDS_AFTER = (2, 3)


class _Trainer:
    """What a rule asks of a Trainer within a step."""

    log_every_n_steps = 1
    ckpt_path = None
    max_epochs = 2

    def __init__(self) -> None:
        self.global_step = self.current_epoch = 0
        self.callback_metrics: dict[str, Any] = {}
        self.logged: list[float] = []
        self.loggers = [self]

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.logged += [step, *metrics.values()]


def computed(
    cls: type[LearningRule], network: Any, options: dict[str, Any], disturbance: float = 0.0, moved: bool = False
) -> list[Number] | str:
    """Returns a case's numbers in the order of :data:`KINDS`, or the sentence with which it is refused.

    Args:
        cls: the rule.
        network: as :func:`tests.helpers.build` takes it.
        options: the rule's own.
        disturbance: relative size of random changes of inputs and initial values, to see whether they matter.
        moved: whether training starts where random numbers were added to all weights.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = _trained(cls, network, options, disturbance, moved)
        except UserError as error:
            return str(error)
    return [_projected(found[kind]) for kind in KINDS]


def agree(kind: str, a: float, b: float, norm: float) -> bool:
    """Returns whether two numbers of a kind are the same but for rounding."""
    return a == b or abs(a - b) <= TOLERANCE[kind] * norm


def _trained(
    cls: type[LearningRule], network: Any, options: dict[str, Any], disturbance: float, moved: bool
) -> dict[str, list[Tensor]]:
    torch.manual_seed(0)
    rule = build_in_double(cls, network, **options)
    rule.seed = 3
    draw = np.random.RandomState(1)  # a generator whose numbers never change
    built: Any = rule.configure_optimizers()
    optimizer, scheduler = built, None
    if isinstance(built, dict):
        optimizer, scheduler = built["optimizer"], built["lr_scheduler"]["scheduler"]
    trainer = _Trainer()
    rule.trainer = trainer  # type: ignore[assignment]
    attached: dict[str, Callable[..., Any]] = {
        "optimizers": lambda: optimizer,
        "lr_schedulers": lambda: scheduler,
        "log_dict": lambda values, **_: trainer.callback_metrics.update(values),
        "_will_go_on": lambda: False,
    }
    for name, function in attached.items():
        setattr(rule, name, function)
    found: dict[str, list[Tensor]] = {kind: [] for kind in KINDS}
    if moved:
        _move(rule)
    if disturbance:
        noise = np.random.RandomState(2)
        for tensor in rule.state_dict().values():
            if tensor.is_floating_point():
                tensor.mul_(1 + disturbance * torch.as_tensor(noise.randn(*tensor.shape)))
    found["start"] = [*_state(rule), _numbers(len(rule.state_dict()))]
    for step, n in enumerate(BATCHES, start=1):
        x, y = _batch(rule, draw, n, disturbance)
        rule.training_step((x, y), step - 1)
        trainer.global_step = step
        if step == 1:
            found["first step"] = _state(rule)
        if step in EPOCH_ENDS_AFTER:
            found["scores"].append(rule.train_means.totals)
            rule.on_train_epoch_end()
            trainer.current_epoch += 1
        with torch.no_grad():
            target = rule.one_hot(y, x.dtype)
            found["updates"] += [p.grad.clone() for p in rule.parameters() if p.grad is not None]
            for phase in rule.phases.values():
                found["phases"] += _tensors(phase)
                energy = None if phase.output.is_complex() else rule.energy(phase, target)
                found["scores"] += [] if energy is None else [energy]
            found["scores"] += [rule.output, rule.sample_losses(rule.output, target)]
    found["learned"] = _state(rule)
    found["optimizer"] = list(_of_optimizer(optimizer))
    found["logged"] = [_numbers(*trainer.logged, *map(float, trainer.callback_metrics.values()))]
    x, y = _batch(rule, draw, 4, disturbance)
    with torch.no_grad():
        found["answers"] = [rule(x), *rule.activity(x), rule.class_probabilities(rule(x))]
        if (output := rule.feedforward_output(x)) is not None:
            found["answers"].append(output)
        rule.evaluate(rule.val_means, (x, y))
        found["answers"] += [rule.val_means.totals, *rule.predict_step((x, y)).values()]
        if type(rule).settled is not LearningRule.settled:
            for phase in rule.settled(rule.network.as_input(x), rule.one_hot(y, x.dtype)).values():
                found["phases"] += _tensors(phase)
    return found


def _move(rule: LearningRule) -> None:
    noise = np.random.RandomState(4)
    for tensor in rule.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(torch.as_tensor(0.05 * noise.randn(*tensor.shape)))


def _batch(rule: LearningRule, draw: np.random.RandomState, n: int, disturbance: float) -> tuple[Tensor, Tensor]:
    x = draw.rand(n, *rule.network.shapes[0])
    if disturbance:
        x *= 1 + disturbance * np.random.RandomState(3).randn(*x.shape)
    return torch.from_numpy(x), torch.from_numpy(draw.randint(rule.network.sizes[-1], size=n))


def _numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _state(rule: LearningRule) -> list[Tensor]:
    return [t.detach().clone() for _, t in [*rule.named_parameters(), *rule.named_buffers()]]


def _tensors(phase: Phase) -> list[Tensor]:
    beta = complex(phase.beta)
    inner = [tensor for name in sorted(phase.internal) for tensor in phase.internal[name]]
    return [*phase.activity, *phase.previous, *inner, _numbers(beta.real, beta.imag, phase.step_size)]


def _of_optimizer(optimizer: torch.optim.Optimizer) -> Iterator[Tensor]:
    for group in optimizer.param_groups:
        settings = [float(group[name]) for name in ("lr", "weight_decay", "momentum") if name in group]
        yield _numbers(*settings, len(group["params"]))
        for parameter in group["params"]:
            state = optimizer.state.get(parameter, {})
            yield from (state[name] for name in sorted(state) if isinstance(state[name], Tensor))


def _projected(tensors: Iterable[Tensor]) -> Number:
    """Returns the number of tensors, complex ones among them."""
    return projected(
        (torch.view_as_real(t.detach()) if t.is_complex() else t.detach()).double().numpy() for t in tensors
    )
