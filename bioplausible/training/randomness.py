"""Random draws that are pure functions of (seed, position): nothing to save, the same on every process."""

import os
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

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


def uniform(seed: int, position: int, *shape: int) -> Tensor:
    """Returns float32 numbers uniform in [0, 1), on the CPU: Trainer's 64-true changes torch's default."""
    return torch.rand(shape, generator=generator(seed, position), dtype=torch.float32)


@dataclass(frozen=True)
class SampleDraws:
    """Draws for each sample of a batch that depend on no other sample, the same on every device.

    A sample's number j is 64 bits of ``mix(key, j)``, its key a function of (seed, step, stream, position): a counter
    takes the place of a generator's state, so samples may be drawn for in any order and in any company. Uniform
    numbers and integers are the same to the bit on every device; normal ones are made from them in double precision.

    Attributes:
        keys: of each sample (n), int64.
    """

    keys: Tensor

    @classmethod
    def at(cls, seed: int, step: int, positions: Tensor, *stream: int) -> "SampleDraws":
        """Returns the draws of samples.

        Args:
            seed: seed of the run.
            step: training step, ≥ 0.
            positions: of the samples in the batch (n), int64.
            stream: numbers ≥ 0 that tell draws apart, such as a layer and an iteration.
        """
        key = mix(mix(seed, _OF_SAMPLES), step)
        for number in stream:
            key = mix(key, number)
        return cls(_mixed(torch.full_like(positions, _signed(key)), positions))

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns numbers (n × shape) uniform in [0, 1), multiples of 2⁻²⁴ in float32, of 2⁻⁵³ in float64."""
        bits = 53 if dtype == torch.float64 else 24
        return self._bits(bits, shape).to(dtype) * 2.0**-bits

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns standard normal numbers (n × shape)."""
        # in the middles of 2⁵² parts of (0, 1), neither of whose ends has a finite quantile
        share = (self._bits(52, shape).to(torch.float64) + 0.5) * 2.0**-52
        normal: Tensor = torch.special.ndtri(share)
        return normal.to(dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Returns whole numbers (n × shape) from 0 to high − 1, int64, equally probable up to high / 2⁶³."""
        return self._bits(63, shape) % high

    def _bits(self, bits: int, shape: tuple[int, ...]) -> Tensor:
        """Returns the highest of the 64 bits of each number (n × shape)."""
        numbers = torch.arange(prod(shape), device=self.keys.device)
        mixed = _mixed(self.keys[:, None], numbers)
        return _shifted(mixed, 64 - bits).view(len(self.keys), *shape)


_OF_SAMPLES = 1 << 32
"""Keeps the samples' draws apart from those of a step, whose positions are smaller."""


def _mixed(seeds: Tensor, positions: Tensor) -> Tensor:
    """Returns :func:`mix` of tensors: int64, whose products wrap around, hold the same 64 bits."""
    z = seeds * _signed(0xD1342543DE82EF95) + (positions + 1) * _signed(0x9E3779B97F4A7C15)
    z = (z ^ _shifted(z, 30)) * _signed(0xBF58476D1CE4E5B9)
    z = (z ^ _shifted(z, 27)) * _signed(0x94D049BB133111EB)
    return z ^ _shifted(z, 31)


def _shifted(z: Tensor, by: int) -> Tensor:
    """Returns 64 bits shifted to the right, zeros coming in: int64's own shift copies the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def _signed(bits: int) -> int:
    """Returns 64 bits as int64 has them."""
    return bits - (1 << 64) if bits >> 63 else bits
