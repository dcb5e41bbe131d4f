"""Predictive coding with ngc-learn's cells and synapses."""

import jax
import jax.numpy as jnp
import numpy as np
from ngclearn import Context, MethodProcess
from ngclearn.components import GaussianErrorCell, HebbianSynapse, RateCell, StaticSynapse
from ngclearn.utils import DistributionGenerator
from ngcsimlib.global_state import stateManager

from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.worker import Learner, main

State = dict[str, jax.Array]


class NGCLearn(Learner):
    """One layer of rate cells between two cables of Hebbian synapses, with error cells; the step is compiled whole."""

    packages = ("ngclearn", "jax")

    def __init__(self, problem: Problem, optimizer: str) -> None:
        w, n = problem.weights, problem.images.shape[1]
        sizes = w["W_1"].shape[1], *w["W_2"].shape[::-1]
        rate = problem.rate if optimizer == "adam" else 1.0
        cable = {"batch_size": n, "eta": rate, "optim_type": optimizer, "sign_value": -1.0, "w_bound": 0.0}
        cable |= {"bias_init": DistributionGenerator.constant(0.0), "post_wght": 1 / n}  # the mean over the batch
        with Context(optimizer):
            self.v = RateCell("v", n_units=sizes[1], tau_m=1 / problem.step_size, act_fx="sigmoid", batch_size=n)
            self.W = {k: HebbianSynapse(f"W{k}", shape=(sizes[k - 1], sizes[k]), **cable) for k in (1, 2)}
            self.e = {k: GaussianErrorCell(f"e{k}", n_units=sizes[k], batch_size=n) for k in (1, 2)}
            self.back = StaticSynapse("back", shape=sizes[:0:-1], batch_size=n)
            for k in (1, 2):
                self.W[k].outputs >> self.e[k].mu
                self.e[k].dmu >> self.W[k].post
            self.v.zF >> self.W[2].inputs
            self.v.zF >> self.W[2].pre
            self.v.z >> self.e[1].target
            self.e[1].dtarget >> self.v.j_td
            self.e[2].dmu >> self.back.inputs
            self.back.outputs >> self.v.j
            self.first = MethodProcess("first") >> self.W[1].advance_state
            self.compare = MethodProcess("compare") >> self.W[2].advance_state
            self.compare >> self.e[1].advance_state >> self.e[2].advance_state
            self.settle = MethodProcess("settle") >> self.back.advance_state >> self.v.advance_state
            self.settle >> self.W[2].advance_state >> self.e[1].advance_state >> self.e[2].advance_state
            self.learn = MethodProcess("learn") >> self.W[1].evolve >> self.W[2].evolve
        for k in (1, 2):
            self.W[k].weights.set(jnp.asarray(w[f"W_{k}"].T))
            self.W[k].biases.set(jnp.asarray(w[f"b_{k}"]).reshape(self.W[k].biases.get().shape))
        # of this circuit alone: what is carried along costs time
        self.state: State = {name: a for name, a in stateManager.state.items() if name.startswith(f"{optimizer}:")}
        self.times = jnp.ones((problem.iterations, 1))
        self.train, self.soften = jax.jit(self.trained), problem.soften

    def trained(self, state: State, x: jax.Array, y: jax.Array) -> State:
        """Returns the state after a batch."""
        state = state | {self.W[1].inputs.root: x, self.W[1].pre.root: x, self.e[2].target.root: y}
        state |= {self.back.weights.root: state[self.W[2].weights.root].T}
        state, _ = self.first.run(state, dt=1.0, update=False)
        values = state[self.W[1].outputs.root]
        state |= {self.v.z.root: values, self.v.zF.root: jax.nn.sigmoid(values)}
        state, _ = self.compare.run(state, dt=1.0, update=False)
        state, _ = self.settle.scan(self.times, state, store_state=False, store_results=False)
        return self.learn.run(state, dt=1.0, update=False)[0]

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(x), jnp.asarray(self.soften(y))

    def step(self, x: jax.Array, y: jax.Array) -> None:
        self.state = self.train(self.state, x, y)

    def wait(self) -> None:
        jax.block_until_ready(self.state)

    def weights(self) -> Arrays:
        found = {f"W_{k}": np.asarray(self.state[self.W[k].weights.root]).T for k in (1, 2)}
        return found | {f"b_{k}": np.asarray(self.state[self.W[k].biases.root]).ravel() for k in (1, 2)}


if __name__ == "__main__":
    main(NGCLearn)
