"""What CorInfoMax maximises, and whether its lateral weights track what they should."""

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.functional import correlative_information, mean_outer_product, published_correlative_information, rows
from bioplausible.network import InverseCorrelation
from bioplausible.observers.figures import count_iterations, log_figure, log_scalars, new_figure
from bioplausible.observers.observer import Observer
from bioplausible.rules import CorInfoMax, LearningRule
from bioplausible.rules.correlative_information import prediction_errors


class Information(Observer):
    """Shows correlative information within one relaxation, and the spectrum of the lateral weights B.

    Information over training is logged by the rule itself with ``track_correlations``, which this needs. This adds:

    * the figure ``information``: forward and backward information of every pair at each iteration of each phase, by the
      paper's definition (with the batch's own correlations) and by the published code's;
    * ``information/B_layer_k_smallest`` and ``…_largest``, eigenvalues of B_k, and their histogram;
    * ``information/B_layer_k_distance`` = ‖B_k − R_k⁻¹‖ / ‖R_k⁻¹‖ (Frobenius), with R_k the nudged phase's estimate, to
      which ``regularize_lateral`` adds εI.

    On images B and R are channel × channel, and an information is that of one position, the mean over all of them.

    Args:
        every_n_steps: steps between two looks; one takes 0.9 s at 500 units.

    Raises:
        UserError: the interval is not positive, or the rule is no CorInfoMax that tracks correlations.
    """

    def __init__(self, every_n_steps: int = 50_000) -> None:
        super().__init__(every_n_steps)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Checks that the rule has what is shown."""
        super().setup(trainer, pl_module, stage)
        if not isinstance(pl_module, CorInfoMax) or not pl_module.correlations:
            raise UserError("Information needs CorInfoMax or CorInfoMaxSparse with track_correlations: true.")

    def look(self, trainer: Trainer, rule: LearningRule, x: Tensor, y: Tensor) -> None:
        """Logs eigenvalues and distances, and draws the figure."""
        assert isinstance(rule, CorInfoMax)
        scalars: dict[str, float] = {}
        for k, lateral in rule.network.laterals.items():
            assert isinstance(lateral, InverseCorrelation)
            eigenvalues = torch.linalg.eigvalsh(lateral.weight)
            R = rule.correlations["nudged"].of_state(k)
            inverse = torch.linalg.inv(R + lateral.epsilon * torch.eye(len(R), dtype=R.dtype, device=R.device))
            scalars[f"information/B_layer_{k}_smallest"] = float(eigenvalues[0])
            scalars[f"information/B_layer_{k}_largest"] = float(eigenvalues[-1])
            scalars[f"information/B_layer_{k}_distance"] = float((lateral.weight - inverse).norm() / inverse.norm())
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    logger.experiment.add_histogram(f"information/B_layer_{k}", eigenvalues, trainer.global_step - 1)
        log_scalars(trainer, scalars)
        log_figure(trainer, "information", draw_information(rule, x, rule.one_hot(y, x.dtype)))


def draw_information(rule: CorInfoMax, x: Tensor, target: Tensor) -> Figure:
    """Returns the information of every pair at each iteration of each phase, by both definitions.

    Args:
        rule: one that tracks correlations; nothing of it changes.
        x: input (n × shape_0).
        target: one-hot target (n × d_L).
    """
    phases: list[list[dict[str, float]]] = []

    def watch(t: int, activity: list[Tensor], step_size: float) -> None:
        if t == 0:
            phases.append([])
        name = "free" if len(phases) == 1 else "nudged"  # the third phase has no estimates of its own
        phases[-1].append(information_of(rule, activity, name))

    rule.watch = watch
    try:
        names = list(rule.settle(x, target))
    finally:
        rule.watch = None
    figure, axes = new_figure(2 * len(names), columns=2)
    for i, (name, curve) in enumerate(zip(names, phases, strict=True)):
        _draw(axes[2 * i], f"{name} phase, the paper's definition", curve, published=False)
        _draw(axes[2 * i + 1], f"{name} phase, the published code's definition", curve, published=True)
    return figure


def information_of(rule: CorInfoMax, activity: list[Tensor], phase: str) -> dict[str, float]:
    """Returns the information of every pair in nats by direction, layer and definition (``published …`` or not).

    Args:
        rule: the rule.
        activity: r_0 … r_L, each (n × shape_k).
        phase: ``free`` or ``nudged``, whose estimates are the published definition's R.
    """
    found: dict[str, float] = {}
    estimates, ε = rule.correlations[phase], rule.epsilon
    for name, predicted, error in prediction_errors(activity, rule.network):
        key = name.replace("_error_", " ")
        r, e = rows(activity[predicted]), rows(error)  # each position counts as a sample
        found[key] = float(correlative_information(mean_outer_product(r, r), mean_outer_product(e, e), ε))
        published = published_correlative_information(estimates.of_state(predicted), e, ε)
        found[f"published {key}"] = float(published)
    return found


def _draw(axis: Axes, title: str, curve: list[dict[str, float]], published: bool) -> None:
    for key in curve[0]:
        if key.startswith("published") == published:
            way, k = key.removeprefix("published ").split()
            predicted = f"layer {k} from below" if way == "forward" else f"layer {int(k) - 1} from above"
            axis.plot([point[key] for point in curve], marker=".", label=f"{way}: {predicted}")
    axis.set(title=title, ylabel="correlative information (nats)")
    count_iterations(axis)
    axis.legend()
