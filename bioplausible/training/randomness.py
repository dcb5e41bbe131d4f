"""Random draws that are pure functions of (seed, position): nothing to save, the same on every process."""

import os

import torch

LARGEST_SEED = 2**32 - 1
"""That NumPy takes."""

_MASK = (1 << 64) - 1


def run_seed() -> int | None:
    """Returns the seed given to ``seed_everything``, or None where nobody gave one."""
    seed = os.environ.get("PL_GLOBAL_SEED")
    return int(seed) if seed is not None else None


def mix(seed: int, position: int) -> int:
    """Returns 64 well-mixed bits of the pair (SplitMix64; Steele, Lea & Flood 2014).

    Args:
        seed: seed of the run.
        position: step or epoch, ≥ 0.
    """
    z = (seed * 0xD1342543DE82EF95 + (position + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def random_sign(seed: int, step: int) -> int:
    """Returns +1 or −1 with equal probability, independently for every step."""
    return 1 if mix(seed, step) >> 63 else -1


def generator(seed: int, position: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Returns a generator that starts from ``mix(seed, position)``."""
    return torch.Generator(device).manual_seed(mix(seed, position) >> 1)
