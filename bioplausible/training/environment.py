"""What a run ran in."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

PACKAGES = ("bioplausible", "torch", "torchvision", "pytorch-lightning", "torchmetrics", "numpy")

NAMES = ("python", *PACKAGES, "processor", "threads", "git_commit", "git_changes")
"""What :func:`environment` tells, by name."""


def environment(device: torch.device | None = None) -> dict[str, str | int]:
    """Returns versions of Python and packages, processor, threads, and the git commit of the code where it has one.

    Args:
        device: what it trains on; a GPU's name stands for the processor's. None: no GPU.
    """
    found: dict[str, str | int] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    found["processor"] = torch.cuda.get_device_name(device) if device and device.type == "cuda" else processor()
    found["threads"] = torch.get_num_threads()
    # an installed package may lie within the checkout of something else
    ours = _git("ls-files", "--error-unmatch", Path(__file__).name)
    found["git_commit"] = (ours and _git("rev-parse", "HEAD")) or "none"
    if found["git_commit"] != "none":
        found["git_changes"] = "yes" if _git("status", "--porcelain", "--untracked-files=no") else "no"
    return found


def processor() -> str:
    """Returns the processor's name, or at least its kind."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # another system than Linux
        lines = []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    """Returns what git says of the checkout that the package lies in; nothing where it lies in none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""
