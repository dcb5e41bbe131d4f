"""What processes that train together tell one another of a batch, so that each learns from the whole of it.

What a rule learns is a mean over samples, a function of the phases that they reached. So the processes can exchange
their phases, and each computes the update from the whole batch. Or each computes updates from its own share, and they
exchange these, whose mean, weighted by the samples of each share, is the batch's. The phases of a small batch are less
than the updates, those of a large one are more, above all where a few weights move many neurons, as in a convolution.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from torch import Tensor, nn

from bioplausible.network import Lateral, RunningCorrelation
from bioplausible.training.data_parallel import join
from bioplausible.training.phase import Phase, Phases, tensors_of, with_tensors

Choice = Literal["smaller", "phases", "updates"]


class Learner(Protocol):
    """A rule, as far as its exchange asks."""

    def modules(self) -> Iterator[nn.Module]:
        """Returns its parts."""
        ...

    def parameters(self) -> Iterator[nn.Parameter]:
        """Returns its parameters."""
        ...

    def steps_of(self, parameter: Tensor) -> int:
        """Returns how many of a batch's updates move a parameter."""
        ...


@dataclass(frozen=True)
class Exchange:
    """Bytes of a step's exchange, either way; of P processes each receives (P − 1)/P of them.

    Attributes:
        phases: n s, where each of n samples has phases of s bytes: every process gets those of all others.
        updates: 2 U, where updates, lateral matrices and running correlations have U bytes: sums go round, and then
            back to every process.
    """

    phases: int
    updates: int

    @classmethod
    def of(cls, rule: Learner, phases: Phases, samples: int) -> "Exchange":
        """Returns the bytes of a batch, from the shapes of what is exchanged.

        Args:
            rule: whose parameters, lateral matrices and running correlations learn.
            phases: of any number of samples, at least one.
            samples: n.
        """
        kept = [module.weight for module in rule.modules() if isinstance(module, (Lateral, RunningCorrelation))]
        # some lateral matrices are parameters
        learned = {id(t): _bytes(t) for t in kept} | {id(p): _bytes(p) * rule.steps_of(p) for p in rule.parameters()}
        s = sum(_bytes(t) // len(t) for t in tensors_of(phases).values())
        return cls(samples * s, 2 * sum(learned.values()))

    @property
    def smaller(self) -> Literal["phases", "updates"]:
        """Which of the two takes fewer bytes; the phases where both take as many."""
        return "phases" if self.phases <= self.updates else "updates"


def exchanged(rule: Learner, phases: dict[str, Phase], samples: int, choice: Choice) -> dict[str, Phase]:
    """Returns the phases from which this process learns, from those of its share of the batch.

    These are the whole batch's where the phases are exchanged; else its own share's, which know of how many samples.

    Args:
        rule: whose parameters and lateral matrices learn.
        phases: of this process's share, at least one sample.
        samples: of the batch.
        choice: what to exchange.
    """
    if choice == "smaller":  # all processes choose alike, from the same shapes
        choice = Exchange.of(rule, phases, samples).smaller
    if choice == "updates":
        return {name: replace(phase, share_of=samples) for name, phase in phases.items()}
    share = tensors_of(phases)
    return with_tensors(phases, dict(zip(share, join(list(share.values())), strict=True)))


def averaged(updates: Iterable[tuple[Tensor, Tensor]], phases: Phases) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields each parameter with the batch's update, given that which its process computed from the phases."""
    first = next(iter(phases.values()))
    if first.share_of is None:
        yield from updates  # one by one: no more than one is held
        return
    held = list(updates)
    if held:
        parameters, mine = zip(*held, strict=True)
        yield from zip(parameters, first.batch_means(mine), strict=True)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
