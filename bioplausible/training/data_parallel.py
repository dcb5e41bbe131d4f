"""Data parallel training: each process settles a share of the batch, and every one learns from the whole of it."""

from collections.abc import Sequence
from math import prod

import torch
import torch.distributed as dist
from torch import Tensor

from bioplausible.errors import UserError
from bioplausible.functional import as_real


def processes() -> int:
    """Returns the number of processes that train together; 1 outside of data parallel training."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns this process's number among them, from 0."""
    return dist.get_rank() if processes() > 1 else 0


def share(batch: Tensor) -> Tensor:
    """Returns this process's share of a batch: every P-th sample of P processes, none where there are not enough."""
    return batch[rank() :: processes()]


def gather(mine: Tensor) -> Tensor:
    """Returns every process's tensor (P × …), the same bits on every process, from tensors of the same shape."""
    if processes() == 1:
        return mine[None]
    gathered = mine.new_empty(processes(), *mine.shape)
    dist.all_gather(list(gathered), mine)
    return gathered


def batch_size(share: Tensor) -> int:
    """Returns the number of samples of the whole batch.

    Args:
        share: any tensor (n_p × …) of this process's samples.

    Raises:
        UserError: the processes' shares are not those that :func:`share` gives.
    """
    P = processes()
    if P == 1:
        return len(share)
    numbers: list[int] = gather(torch.tensor(len(share), device=share.device)).tolist()
    whole = sum(numbers)
    if numbers != [len(range(p, whole, P)) for p in range(P)]:
        raise UserError(
            f"The {P} processes got {numbers} samples of a batch: give process p every {P}th sample from p on, as"
            " bioplausible.training.data_parallel.share does, and construct the Trainer with"
            " use_distributed_sampler=False."
        )
    return whole


def positions(samples: int, whole: int) -> range:
    """Returns the positions in the whole batch of the samples that this process has: all, or its share.

    Args:
        samples: how many it has.
        whole: samples of the batch.
    """
    return range(whole) if samples == whole else range(rank(), whole, processes())


def average(means: Sequence[Tensor], samples: int, whole: int) -> list[Tensor]:
    """Returns means over the whole batch, the same bits on every process, from those over each process's samples.

    Args:
        means: over this process's samples.
        samples: how many these are, at least one.
        whole: samples of the batch.
    """
    # numbers of samples are exact, their quotients are rounded and need not add up to 1: a matrix averaged each step,
    # as lateral weights are, would drift
    numbers = [as_real(mean) for mean in means]
    total = torch.cat([part.reshape(-1) for part in numbers]).mul_(samples)
    dist.all_reduce(total)
    parts = total.div_(whole).split_with_sizes([part.numel() for part in numbers])
    found = [part.view(of.shape).to(of.dtype) for part, of in zip(parts, numbers, strict=True)]
    return [torch.view_as_complex(f) if m.is_complex() else f for f, m in zip(found, means, strict=True)]


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
    n, whole, device = len(shares[0]), batch_size(shares[0]), shares[0].device
    # as bytes, so that activities and classes travel together
    parts = [t.contiguous().view(-1).view(torch.uint8).view(n, prod(t.shape[1:]) * t.element_size()) for t in shares]
    widths = [part.shape[1] for part in parts]
    padded = torch.zeros(-(-whole // P), sum(widths), dtype=torch.uint8, device=device)
    torch.cat(parts, 1, out=padded[:n])
    rows = gather(padded).transpose(0, 1).flatten(0, 1)[:whole]  # sample i of process p is sample i P + p of the batch
    return [
        part.clone(memory_format=torch.contiguous_format).view(t.dtype).reshape(whole, *t.shape[1:])
        for part, t in zip(rows.split_with_sizes(widths, 1), shares, strict=True)
    ]
