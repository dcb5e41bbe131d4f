"""Data parallel training: each process settles a share of the batch, and every one learns from the whole of it.

What a rule learns is a function of the phases that the whole batch reached: products of activities, lateral matrices
and sums over the batch. So the processes exchange their phases, which are small, and each computes the same update,
instead of exchanging updates, for which every rule would have to say how they add up.
"""

from collections.abc import Sequence
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor

from bioplausible.errors import UserError


def processes() -> int:
    """Returns the number of processes that train together; 1 outside of data parallel training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns this process's number among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def share(batch: Tensor) -> Tensor:
    """Returns this process's share of a batch: every P-th sample of P processes, none where there are not enough."""
    return batch[rank() :: processes()]


def join(shares: Sequence[Tensor]) -> list[Tensor]:
    """Returns the whole batch's tensors from those of this process's share, the samples in the batch's order.

    Args:
        shares: tensors (n_p × …) of the same samples.

    Returns:
        The tensors (n × …), the same bits on every process.

    Raises:
        UserError: the processes' shares are not those that :func:`share` gives.
    """
    P = processes()
    if P == 1:
        return list(shares)
    n, device = len(shares[0]), shares[0].device
    counts = torch.empty(P, dtype=torch.int64, device=device)
    dist.all_gather(list(counts.view(P, 1)), torch.tensor([n], device=device))
    numbers = counts.tolist()
    whole = sum(numbers)
    if numbers != [len(range(p, whole, P)) for p in range(P)]:
        raise UserError(
            f"The {P} processes got {numbers} samples of a batch: give process p every {P}th sample from p on, as"
            " bioplausible.training.data_parallel.share does, and construct the Trainer with"
            " use_distributed_sampler=False."
        )
    # as bytes, so that activities and classes travel together
    parts = [t.reshape(-1).view(torch.uint8).view(n, prod(t.shape[1:]) * t.element_size()) for t in shares]
    widths = [part.shape[1] for part in parts]
    padded = torch.zeros(numbers[0], sum(widths), dtype=torch.uint8, device=device)
    torch.cat(parts, 1, out=padded[:n])
    gathered = padded.new_empty(P, *padded.shape)
    dist.all_gather(list(gathered), padded)
    rows = gathered.transpose(0, 1).flatten(0, 1)[:whole]  # sample i of process p is sample i P + p of the batch
    return [
        part.clone(memory_format=torch.contiguous_format).view(t.dtype).reshape(whole, *t.shape[1:])
        for part, t in zip(rows.split_with_sizes(widths, 1), shares, strict=True)
    ]
