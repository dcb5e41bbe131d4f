"""Any optimizer and scheduler of torch, with what they refuse as one sentence."""

import inspect
from collections.abc import Callable, Container, Mapping
from types import NoneType
from typing import Any, cast

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.core.optimizer import LightningOptimizer
from pytorch_lightning.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from bioplausible.errors import UserError, user_errors
from bioplausible.errors.checks import require
from bioplausible.training.monitored import plateau_monitor
from bioplausible.training.schedulers import WarmupCosine

OTHER_OPTIMIZER = "change its options, or choose another optimizer"
OTHER_SCHEDULER = "change its options, or choose another lr_scheduler"


def build_optimizer(optimizer: Callable[[Any], Optimizer], groups: list[dict[str, Any]]) -> Optimizer:
    """Returns an optimizer over the parameter groups.

    Raises:
        UserError: it refuses its options, needs a loss that it evaluates itself, decays no weights where groups say by
            how much, or has a rate that is no rate.
    """
    with user_errors("The optimizer can't be built", OTHER_OPTIMIZER):
        built = optimizer(groups)
    closure = inspect.signature(cast(Any, built.step)).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        raise UserError(
            f"{type(built).__name__} evaluates a loss several times a step, and local updates have none: choose another"
            " optimizer, such as SGD or Adam."
        )
    require(
        "weight_decay" in built.defaults or not any("weight_decay" in group for group in groups),
        f"{type(built).__name__} decays no weights, and the rule has weight_decays: choose another optimizer, such as"
        " SGD, or leave them out.",
    )
    _check_rates(built, "The optimizer", OTHER_OPTIMIZER)
    return built


def refuse_idle_rate(optimizer: Optimizer, rule: LightningModule) -> None:
    """Refuses a rate of the optimizer's own where every layer has another.

    Args:
        optimizer: as it is configured; what it writes into the groups that it was built with is not looked at.
        rule: a learning rule, whose options give the layers their rates.

    Raises:
        UserError: the optimizer was given a rate that is not its class's default, and no group takes it.
    """
    rate, groups = optimizer.defaults.get("lr"), cast(Any, rule).parameter_groups()
    usual = inspect.signature(type(optimizer)).parameters.get("lr")
    if groups and all("lr" in group for group in groups) and usual is not None and rate != usual.default:
        names = _options_of_rates(rule, {group.get("name", "").partition("_")[0] for group in groups})
        given = f"{' and '.join(names)} {'gives' if len(names) == 1 else 'give'}" if names else "the rule gives"
        cure = f", or set {' and '.join(names)} to None (in a file null)" if names else ""
        raise UserError(
            f"The optimizer's lr is {rate}, but {given} every layer's rate, by default too, and it would do nothing:"
            f" leave lr out, or at its default ({usual.default}){cure}."
        )


def _options_of_rates(rule: LightningModule, parts: Container[str]) -> list[str]:
    """Returns which options give the rates of a rule's parameter groups, of those that can leave them to the optimizer.

    Args:
        rule: the rule.
        parts: what its groups are named after, ``layer`` or ``feedforward``, and perhaps ``feedback``.
    """
    declared = (name for cls in type(rule).__mro__[:-1] for name in inspect.signature(cls).parameters)
    of_part = {"learning_rates": "layer"} | {f"{part}_learning_rates": part for part in ("feedforward", "feedback")}
    return [name for name in dict.fromkeys(declared) if of_part.get(name) in parts]


def build_scheduler(scheduler: Callable[[Optimizer], LRScheduler], optimizer: Optimizer) -> LRScheduler:
    """Returns a scheduler of an optimizer's rates, and warns where it takes other ones than the layers were given.

    Raises:
        UserError: it refuses its options, or sets a rate that is no rate.
    """
    given = [group["lr"] for group in optimizer.param_groups]
    with user_errors("The lr_scheduler can't be built", OTHER_SCHEDULER):
        built = scheduler(optimizer)
    _check_rates(optimizer, type(built).__name__, OTHER_SCHEDULER)
    taken = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]
    if len(set(map(float, given))) > len(set(map(float, taken))) == 1:
        names = ", ".join(f"{group.get('name', i)}" for i, group in enumerate(optimizer.param_groups))
        rank_zero_warn(
            f"{type(built).__name__} gives all layers one rate, in the place of the rule's own"
            f" ({', '.join(map(str, given))}): give it a list of rates, in the order {names}."
        )
    return built


def check_length(scheduler: LRScheduler, epochs: int | None) -> None:
    """Warns where a schedule of a fixed length, which steps each epoch, won't come to its end.

    Args:
        scheduler: the scheduler.
        epochs: of the run; None or −1 where none are set.
    """
    total = scheduler.total_steps if isinstance(scheduler, (OneCycleLR, WarmupCosine)) else 0
    if epochs is not None and 0 <= epochs < total:
        rank_zero_warn(
            f"{type(scheduler).__name__} is planned for {total} steps, and takes one an epoch, {epochs} in this run:"
            " for one a batch set lr_scheduler_interval to step."
        )


def leave_alone_others(optimizer: Optimizer, moved: Container[int]) -> None:
    """Lets the optimizer's next step leave alone all parameters but some, given by their ids: no momentum, no decay.

    What was in their ``grad`` is given up.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in moved:
                parameter.grad = None


def hold_frozen(optimizer: Optimizer, rule: str) -> dict[int, tuple[nn.Parameter, Tensor]]:
    """Returns the frozen parameters (``requires_grad`` is False) by their ids, each with a copy of its value.

    Args:
        optimizer: the optimizer; buffers among its groups are not meant.
        rule: the learning rule's name, for the sentence.

    Raises:
        UserError: all parameters are frozen.
    """
    tensors = [tensor for group in optimizer.param_groups for tensor in group["params"]]
    frozen = [tensor for tensor in tensors if not tensor.requires_grad and isinstance(tensor, nn.Parameter)]
    require(
        not frozen or any(tensor.requires_grad for tensor in tensors),
        f"The parameters of {rule} are all frozen, so that nothing can learn: let some learn, by rule.unfreeze() or a"
        " layer's requires_grad_().",
    )
    return {id(parameter): (parameter, parameter.detach().clone()) for parameter in frozen}


def put_back(frozen: Mapping[int, tuple[Tensor, Tensor]]) -> None:
    """Gives frozen parameters (:func:`hold_frozen`) their values again, whatever a rule moves by itself."""
    for parameter, value in frozen.values():
        parameter.copy_(value)


def not_moved(rule: LightningModule, tensor: Tensor) -> str:
    """Returns in a sentence why an optimizer does not move a tensor that a learning rule gives an update for."""
    for layer, connection in cast(Any, rule).network.wiring.items():
        for name in ("weight", "bias"):
            if not isinstance(getattr(connection, name), (nn.Parameter, NoneType)):
                return (
                    f'The {name} of network.wiring["{layer}"] is computed from other tensors, as pruning and'
                    " parametrizations do it, so that no update can move it: make it a parameter again"
                    " (torch.nn.utils.prune.remove, torch.nn.utils.parametrize.remove_parametrizations), and leave out"
                    " what changes it while it learns, such as ModelPruning."
                )
    named = [*rule.named_parameters(), *rule.named_buffers()]
    names = [name for name, own in named if own is tensor]
    what = names[0] if names else f"a tensor of shape {' × '.join(map(str, tensor.shape))}"
    return (
        f"local_updates of {type(rule).__name__} yields {what}, which is in no group of parameter_groups, so that no"
        " optimizer moves it: make it an nn.Parameter that is in one, or let update_state move it."
    )


def step_optimizer(
    optimizer: Optimizer, gradient_norm_limit: float | None = None, trainer: Trainer | None = None
) -> None:
    """Takes an optimizer's step, which Trainer does not count: a batch may take several (:func:`count_batch`).

    Args:
        optimizer: the optimizer, its parameters' updates with their sign turned in ``grad``; those of None are left
            alone.
        gradient_norm_limit: largest norm of all of them together: longer ones are shortened to it; None: no limit.
        trainer: whose optimizer it is; None: nobody's.

    Raises:
        UserError: it can't with these options.
    """
    if gradient_norm_limit is not None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        clip_grad_norm_(parameters, gradient_norm_limit)
    with user_errors(f"{type(optimizer).__name__.removeprefix('Lightning')} can't take a step", OTHER_OPTIMIZER):
        if trainer is None:
            optimizer.step()
        else:  # what the wrapper that Trainer gives does, but for counting
            with cast(Any, trainer).profiler.profile("optimizer_step"):
                trainer.strategy.optimizer_step(cast(LightningOptimizer, optimizer).optimizer, lambda: None)


def step_scheduler(scheduler: LRScheduler, metrics: Mapping[str, Any], step: int) -> None:
    """Takes a scheduler's step.

    Args:
        scheduler: the scheduler; ReduceLROnPlateau names the metric that it monitors, by default ``train/loss``.
        metrics: those that it may look at.
        step: training steps taken, for the sentence.

    Raises:
        UserError: it can't with these options, sets a rate that is no rate, or monitors what is not there.
    """
    name = type(scheduler).__name__
    monitored = []
    if isinstance(scheduler, ReduceLROnPlateau):
        monitor = plateau_monitor(scheduler)
        if monitor not in metrics:
            known = ", ".join(metrics) or "nothing is yet"
            raise UserError(
                f"ReduceLROnPlateau monitors {monitor}, which is not logged by step {step} ({known}): choose another,"
                " or let what logs it, as a validation, come before the schedule's first step."
            )
        monitored = [metrics[monitor]]
    with user_errors(f"{name} can't take a step", OTHER_SCHEDULER):
        scheduler.step(*monitored)
    _check_rates(scheduler.optimizer, name, OTHER_SCHEDULER)


def _check_rates(optimizer: Optimizer, who: str, cure: str) -> None:
    for group in optimizer.param_groups:
        lr = group.get("lr")
        if isinstance(lr, (int, float)) and not 0 <= lr < float("inf"):  # a tensor may lie on a device that is at work
            raise UserError(f"{who} sets a learning rate to {lr:g}, which must be finite and not negative: {cure}.")
