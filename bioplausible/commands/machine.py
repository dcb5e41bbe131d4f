"""On what a run computes: its accelerator and its threads."""

from typing import Any

import torch
from jsonargparse import Namespace
from pytorch_lightning import LightningDataModule
from pytorch_lightning.accelerators import CUDAAccelerator, MPSAccelerator, XLAAccelerator

from bioplausible.errors import UserError
from bioplausible.rules import LearningRule
from bioplausible.training.threads import fastest_threads, threads_given


def require_accelerator(name: Any) -> None:
    """Raises a :class:`bioplausible.UserError` where this machine has no accelerator of the name."""
    kinds = {"gpu": (CUDAAccelerator, MPSAccelerator), "cuda": (CUDAAccelerator,), "mps": (MPSAccelerator,)}
    found = kinds.get(str(name), (XLAAccelerator,) if name == "tpu" else ())
    if found and not any(kind.is_available() for kind in found):
        raise UserError(f"accelerator is {name}, and none works here: use --trainer.accelerator cpu, or auto.")


def threads_of_run(trainer: Namespace, rule: LearningRule, data: LightningDataModule) -> int | None:
    """Returns how many threads a run computes with, which are set; None where Lightning decides.

    Args:
        trainer: options of the Trainer.
        rule: what is trained.
        data: on what.
    """
    on_gpu = torch.cuda.is_available() and trainer.accelerator not in ("cpu", torch.device("cpu"))
    alone = str(trainer.devices) in ("auto", "1") and trainer.num_nodes == 1
    if on_gpu or not alone:
        return None
    given = threads_given()
    if given is not None:
        return given
    chosen = fastest_threads(rule, getattr(data, "batch_size", 20))
    if chosen < torch.get_num_threads():
        torch.set_num_threads(chosen)
        print("computes with one thread, which is fastest here now (--threads N takes N)")
    return chosen
