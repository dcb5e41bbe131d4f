"""Pictures of what a network holds and says, for observers while it trains and for whoever looks later."""

from collections.abc import Mapping, Sequence

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix
from torchvision.utils import make_grid

from bioplausible.data.class_names import shortened
from bioplausible.functional import as_real
from bioplausible.network import Convolution, Dense, Local
from bioplausible.observers.figures import new_figure
from bioplausible.rules import LearningRule, Phase

CONFUSION_COLOURS = "cividis"
MOST_TICKS = 20
"""Classes that a confusion matrix marks each."""
MOST_IN_COLUMN = 25
"""Names in a column of a legend."""
INCHES_OF_COLUMN = 1.7
"""Its width."""
BINS = 50


def receptive_fields(rule: LearningRule, image_shape: Sequence[int] | None, units: int = 64) -> Tensor | None:
    """Returns what the units of layer 1 see as a grid of images (3 × height × width) in [0, 1].

    Of a dense layer the rows of W_1, of a convolution its kernels, of a locally connected layer the kernels of the
    position in the middle.

    Args:
        rule: the rule.
        image_shape: (channels, height, width) of the input, where the network itself has flat input; None: not known.
        units: how many, the first ones.

    Returns:
        None where they are no images: neither grey nor of three colours, or of a wiring of one's own.
    """
    first = rule.network.into(1)[0]
    channels, *sides = first.pre_shape if len(first.pre_shape) == 3 else image_shape or (0,)
    if channels not in (1, 3):
        return None
    if isinstance(first, Dense):
        fields = first.weight[:units]
    elif isinstance(first, Convolution):
        fields, sides = first.weight[:units], [first.kernel] * 2
    elif isinstance(first, Local):
        rows, columns = first.unpooled_shape[1:]
        fields, sides = first.weight[rows // 2 * columns + columns // 2, :units], [first.kernel] * 2
    else:
        return None
    images = fields.detach().float().cpu().reshape(len(fields), channels, *sides)
    largest = images.abs().amax((1, 2, 3), keepdim=True)
    images = images / (2 * largest.clamp(min=torch.finfo(images.dtype).tiny)) + 0.5
    grid: Tensor = make_grid(images, nrow=8, padding=1, pad_value=1.0)
    return grid


def enlarged(image: Tensor) -> Tensor:
    """Returns an image (3 × height × width) whose pixels are squares, so that it is about 640 pixels wide."""
    zoom = max(1, 640 // image.shape[-1])
    return image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)


def confusion_of(*, predicted: Tensor, true: Tensor, classes: int) -> Tensor:
    """Returns the confusion matrix: of each true class, a row, the share that was taken for each predicted one.

    Args:
        predicted: classes (n).
        true: classes (n).
        classes: how many there are.
    """
    return multiclass_confusion_matrix(predicted, true, classes, normalize="true").cpu()


def draw_confusion(confusion: Tensor, split: str, names: Sequence[str] | None = None) -> Figure:
    """Returns a confusion matrix with its axes.

    Args:
        confusion: what :func:`confusion_of` returned.
        split: of which split it is, for the title.
        names: of the classes; None: their numbers.
    """
    classes = len(confusion)
    figure, (axis,) = new_figure(1, width=5.5, height=5)
    axis.grid(visible=False)
    shown = axis.imshow(confusion, cmap=CONFUSION_COLOURS, vmin=0, vmax=1)
    axis.set(title=f"confusion matrix, {split} split", xlabel="predicted class", ylabel="true class")
    if classes <= MOST_TICKS:
        axis.set(xticks=range(classes), yticks=range(classes))
        if names is not None:
            shown_names = [shortened(name) for name in names]
            words = max(map(len, shown_names)) > 2
            axis.set_xticklabels(shown_names, rotation=45 if words else 0, ha="right" if words else "center")
            axis.set_yticklabels(shown_names)
    figure.colorbar(shown, label="share of the true class", shrink=0.8)
    return figure


def draw_activity(phases: Mapping[str, Phase]) -> Figure:
    """Returns how the activities of each layer above the input are spread, where each phase ends.

    Args:
        phases: of a rule, as :meth:`bioplausible.LearningRule.settled` returns them.
    """
    layers = len(next(iter(phases.values())).activity) - 1
    figure, axes = new_figure(layers, columns=3, width=5)
    for k, axis in enumerate(axes, start=1):
        activity = {name: as_real(phase.activity[k]).flatten().double().cpu() for name, phase in phases.items()}
        low, high = (float(end) for end in torch.cat(list(activity.values())).aminmax())
        edges = torch.linspace(low, high if high > low else low + 1, BINS + 1, dtype=torch.float64)
        for name, r in activity.items():
            counts = torch.histogram(r, edges).hist
            axis.stairs(counts / len(r), edges, label=f"{name} phase")
        axis.set(title=f"layer {k}", xlabel="activity", ylabel="share of units and samples", yscale="log")
        axis.legend()
    return figure


def draw_tsne(hidden: Sequence[Tensor], labels: Tensor, classes: int, names: Sequence[str] | None = None) -> Figure:
    """Returns a t-SNE map of every hidden layer, each image as the number of its class.

    Args:
        hidden: activities r_1 … r_{L−1}, each (n × shape_k), real.
        labels: classes (n).
        classes: how many there are.
        names: of the classes, for a legend of the numbers shown; None: they have none but their numbers.
    """
    from sklearn.manifold import TSNE  # only now: scikit-learn takes long to import, and few runs draw maps

    figure, axes = new_figure(len(hidden), width=5.5, height=5)
    shown = sorted(set(labels.tolist()))
    for k, (axis, r) in enumerate(zip(axes, hidden, strict=True), start=1):
        perplexity = min(30.0, (len(r) - 1) / 3)
        places = TSNE(perplexity=perplexity, random_state=0).fit_transform(r.flatten(1).float().cpu().numpy())
        colours = colormaps["viridis"](labels.cpu().numpy() / max(1, classes - 1))
        for c in shown:  # as numbers, which tell more classes apart than colours do
            of_class = (labels == c).cpu().numpy()
            axis.scatter(
                places[of_class, 0], places[of_class, 1], c=colours[of_class], marker=f"${c}$", s=40, linewidths=0
            )
        axis.set(title=f"t-SNE of layer {k}: each image as its class", xticks=[], yticks=[])
    if names is not None:
        entries = [f"{c} = {shortened(names[c])}" for c in shown]
        columns = -(-len(shown) // MOST_IN_COLUMN)
        figure.set_figwidth(figure.get_figwidth() + INCHES_OF_COLUMN * columns)
        blank = [Line2D([], [], linestyle="") for _ in shown]
        figure.legend(
            blank,
            entries,
            loc="outside right upper",
            ncols=columns,
            fontsize="small",
            handlelength=0,
            handletextpad=0,
        )
    return figure
