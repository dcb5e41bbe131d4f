"""Predictive coding with pcx."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pcx.functional as pxf
import pcx.nn as pxnn
import pcx.predictive_coding as pxc
import pcx.utils as pxu

from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.worker import Learner, main

PER_SAMPLE = pxu.M(pxc.VodeParam | pxc.VodeParam.Cache).to((None, 0))


class Network(pxc.EnergyModule):
    """Value nodes that lie before their activation, the last one held at the target."""

    def __init__(self, sizes: tuple[int, int, int]) -> None:
        super().__init__()
        self.first, self.second = pxnn.Linear(sizes[0], sizes[1]), pxnn.Linear(sizes[1], sizes[2])
        self.hidden, self.output = pxc.Vode(), pxc.Vode()
        self.output.h.frozen = True

    def __call__(self, x: jax.Array) -> None:
        self.output(self.second(jax.nn.sigmoid(self.hidden(self.first(x)))))


@pxf.vmap(PER_SAMPLE, in_axes=(0, 0), out_axes=None)
def start(x: jax.Array, y: jax.Array, *, network: Network) -> None:
    """Sets the values to those of a feedforward pass, and the output's to the target."""
    network(x)
    network.output.set("h", y)


@pxf.vmap(PER_SAMPLE, in_axes=(0,), out_axes=None, axis_name="batch")
def energy(x: jax.Array, *, network: Network) -> jax.Array:
    """Returns the batch's energy."""
    network(x)
    return jax.lax.psum(network.energy(), "batch")


def gradient(mask: pxu.M, x: jax.Array, network: Network):
    """Returns the energy's gradient by what the mask takes."""
    with pxu.step(network, clear_params=pxc.VodeParam.Cache):
        return pxf.value_and_grad(mask.to([False, True]))(energy)(x, network=network)[1]["network"]


@pxf.jit(static_argnums=0)
def train(iterations: int, x: jax.Array, y: jax.Array, *, network: Network, values: pxu.Optim, weights: pxu.Optim):
    """Learns a batch."""
    with pxu.step(network, pxc.STATUS.INIT, clear_params=pxc.VodeParam.Cache):
        start(x, y, network=network)
    values.init(pxu.M_hasnot(pxc.VodeParam, frozen=True)(network))
    for _ in range(iterations):
        values.step(network, gradient(pxu.M_hasnot(pxc.VodeParam, frozen=True), x, network))
    values.clear()
    weights.step(network, gradient(pxu.M(pxnn.LayerParam), x, network), scale_by=1 / len(x))


class PCX(Learner):
    """pcx's layers, value nodes and optimizers, and one compiled training step."""

    packages = ("pcx", "jax")

    def __init__(self, problem: Problem, optimizer: str) -> None:
        w = problem.weights
        self.network = Network((w["W_1"].shape[1], *w["W_2"].shape[::-1]))
        for k, layer in ((1, self.network.first), (2, self.network.second)):
            layer.nn.weight.set(jnp.asarray(w[f"W_{k}"]))
            layer.nn.bias.set(jnp.asarray(w[f"b_{k}"]))
        self.values = pxu.Optim(partial(optax.sgd, problem.step_size))
        chosen = partial(optax.adam, problem.rate) if optimizer == "adam" else partial(optax.sgd, 1.0)
        self.optimizer = pxu.Optim(chosen, pxu.M(pxnn.LayerParam)(self.network))
        self.train, self.soften = partial(train, problem.iterations), problem.soften

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(x), jnp.asarray(self.soften(y))

    def step(self, x: jax.Array, y: jax.Array) -> None:
        self.train(x, y, network=self.network, values=self.values, weights=self.optimizer)

    def wait(self) -> None:
        jax.block_until_ready(self.network.second.nn.weight.get())

    def weights(self) -> Arrays:
        layers = {1: self.network.first.nn, 2: self.network.second.nn}
        found = {f"W_{k}": np.asarray(layer.weight.get()) for k, layer in layers.items()}
        return found | {f"b_{k}": np.asarray(layer.bias.get()) for k, layer in layers.items()}


if __name__ == "__main__":
    main(PCX)
