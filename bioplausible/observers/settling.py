"""How activities settle."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure
from pytorch_lightning import Trainer
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.functional import squares
from bioplausible.observers.figures import count_iterations, log_figure, log_scalars, new_figure
from bioplausible.observers.observer import Observer
from bioplausible.rules import LearningRule, Phase

TOLERANCE = 0.1
"""Residual below which a sample counts as settled, in activity per unit of neural time."""


@dataclass
class Trajectory:
    """How one phase went.

    Attributes:
        residuals: of each iteration 1 … T and layer 1 … L, RMS(r_k(t) − r_k(t−1)) / η_t, (T × L); the root mean square
            is over the samples and all units of a layer, at every position where it is an image.
        energies: mean energy of the samples at t = 0 … T, or none where the rule descends no energy.
        unsettled: of each layer, the share of the samples whose residual exceeds the tolerance at the end.
        samples_unsettled: the share of the samples of which that holds in some layer.
    """

    residuals: list[list[float]] = field(default_factory=list)
    energies: list[float] = field(default_factory=list)
    unsettled: list[float] = field(default_factory=list)
    samples_unsettled: float = 0.0


def trajectories(rule: LearningRule, x: Tensor, target: Tensor, tolerance: float) -> dict[str, Trajectory]:
    """Lets a rule settle once more, watched, and returns how each phase that iterates went, by its name.

    It settles twice: how strongly the target pulls in a phase, which the energy needs, is known at its end alone, and
    to keep the states of all iterations until then would take as many times the memory.

    Args:
        rule: the rule; nothing of it changes.
        x: input (n × shape_0).
        target: one-hot target (n × d_L).
        tolerance: residual below which a sample counts as settled.
    """
    iterated = [(name, phase) for name, phase in rule.settled(x, target).items() if phase.previous]
    found: dict[str, Trajectory] = {}
    before: list[Tensor] = []
    started = 0

    def watch(t: int, activity: list[Tensor], step_size: float) -> None:
        nonlocal before, started
        started += t == 0
        if started > len(iterated):  # a phase of which the rule does not say that it iterates
            return
        name, phase = iterated[started - 1]
        trajectory = found.setdefault(name, Trajectory())
        energy = rule.energy(Phase(activity, phase.beta, internal=phase.internal), target)
        if energy is not None:
            trajectory.energies.append(float(energy.mean()))
        if t > 0:
            _note_speeds(trajectory, activity[1:], before, step_size, tolerance)
        before = [r.clone() for r in activity[1:]]

    rule.watch = watch
    try:
        rule.settled(x, target)
    finally:
        rule.watch = None
    return found


def _note_speeds(
    trajectory: Trajectory, now: list[Tensor], before: list[Tensor], step_size: float, tolerance: float
) -> None:
    """Adds an iteration's residuals to a trajectory, and notes what had not settled after it."""
    # of each layer and sample: RMS over all its units, on images those of all channels and positions
    speeds = [squares((a - b).flatten(1)).mean(1).sqrt() / step_size for a, b in zip(now, before, strict=True)]
    trajectory.residuals.append([float(speed.square().mean().sqrt()) for speed in speeds])
    moving = torch.stack(speeds) > tolerance
    trajectory.unsettled = moving.float().mean(1).tolist()
    trajectory.samples_unsettled = float(moving.any(0).float().mean())


class Settling(Observer):
    """Shows how activities settle: residual of each layer and energy, iteration by iteration.

    Logs, for each phase that iterates, ``settling/<phase>_residual_layer_k`` and ``settling/<phase>_energy`` at its
    end, ``settling/<phase>_unsettled`` (the share of samples that still move; also layer by layer), and the figure
    ``settling``.

    Args:
        every_n_steps: steps between two looks; one takes about 0.8 s, most of it for the figure.
        tolerance: residual below which a sample counts as settled, in activity per unit of neural time.

    Raises:
        UserError: the interval or the tolerance is not positive.
    """

    def __init__(self, every_n_steps: int = 20_000, tolerance: float = TOLERANCE) -> None:
        super().__init__(every_n_steps)
        if tolerance <= 0:
            raise UserError(f"tolerance is {tolerance}: it must be positive.")
        self.tolerance = tolerance

    def look(self, trainer: Trainer, rule: LearningRule, x: Tensor, y: Tensor) -> None:
        """Logs the scalars and the figure."""
        found = trajectories(rule, x, rule.one_hot(y, x.dtype), self.tolerance)
        if not found:
            return
        scalars: dict[str, float] = {}
        for name, trajectory in found.items():
            for k, residual in enumerate(trajectory.residuals[-1], start=1):
                scalars[f"settling/{name}_residual_layer_{k}"] = residual
                scalars[f"settling/{name}_unsettled_layer_{k}"] = trajectory.unsettled[k - 1]
            scalars[f"settling/{name}_unsettled"] = trajectory.samples_unsettled
            if trajectory.energies:
                scalars[f"settling/{name}_energy"] = trajectory.energies[-1]
        log_scalars(trainer, scalars)
        log_figure(trainer, "settling", draw_settling(found, self.tolerance))


def draw_settling(found: Mapping[str, Trajectory], tolerance: float) -> Figure:
    """Returns the residuals of each phase by layer and iteration, and the energies of those that descend one.

    Args:
        found: of each phase that iterates, how it went; at least one.
        tolerance: residual below which a sample counts as settled.
    """
    with_energy = any(trajectory.energies for trajectory in found.values())
    figure, axes = new_figure(len(found) + with_energy, columns=2)
    for axis, (name, trajectory) in zip(axes, found.items(), strict=False):
        for k, residuals in enumerate(zip(*trajectory.residuals, strict=True), start=1):
            # a layer that is clamped, or at rest, has no residual to show on a logarithmic axis
            shown = [value if value > 0 else float("nan") for value in residuals]
            label = f"layer {k}" if any(residuals) else f"layer {k}, at rest"
            axis.plot(range(1, len(shown) + 1), shown, marker=".", label=label)
        axis.axhline(tolerance, color="black", linestyle=":", label="tolerance")
        axis.set(
            title=f"{name} phase: {trajectory.samples_unsettled:.0%} of the samples not settled",
            ylabel="residual (activity per unit of neural time)",
            yscale="log",
        )
        count_iterations(axis)
        axis.legend()
    if with_energy:
        for name, trajectory in ((n, t) for n, t in found.items() if t.energies):
            axes[-1].plot(trajectory.energies, marker=".", label=f"{name} phase")
        axes[-1].set(title="energy, mean over the samples", ylabel="energy")
        count_iterations(axes[-1])
        axes[-1].legend()
    return figure
