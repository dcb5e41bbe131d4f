"""Predictive coding with FabricPC."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from fabricpc import setup_jax
from fabricpc.core.inference import InferenceSGD
from fabricpc.core.topology import Edge
from fabricpc.core.types import GraphParams, NodeParams
from fabricpc.graph_assembly import TaskMap, graph
from fabricpc.graph_initialization import initialize_params
from fabricpc.nodes import Linear
from fabricpc.training import make_train_step

from tests.benchmarks.peers.problem import Arrays, Problem
from tests.benchmarks.peers.worker import Learner, main


class AfterSigmoid(Linear):
    """Predicts W f(v) + b, from values that lie before their activation: FabricPC's own node has f outside of W."""

    @staticmethod
    def predict(params, inputs, state, node_info):
        return Linear.predict(params, {edge: jax.nn.sigmoid(v) for edge, v in inputs.items()}, state, node_info)


class FabricPC(Learner):
    """A graph of three nodes, with FabricPC's inference and its compiled training step."""

    packages = ("fabricpc", "jax")

    def __init__(self, problem: Problem, optimizer: str) -> None:
        w = problem.weights
        x, hidden, output = (
            node(shape=(size,), name=name)
            for node, size, name in zip(
                (Linear, Linear, AfterSigmoid), (w["W_1"].shape[1], *map(len, (w["b_1"], w["b_2"]))), "xhy", strict=True
            )
        )
        structure = graph(
            nodes=[x, hidden, output],
            edges=[Edge(source=x, target=hidden.slot("in")), Edge(source=hidden, target=output.slot("in"))],
            task_map=TaskMap(x=x, y=output),
            inference=InferenceSGD(eta_infer=problem.step_size, infer_steps=problem.iterations),
        )
        self.key = jax.random.PRNGKey(0)
        nodes = dict(initialize_params(structure, self.key).nodes)
        for name, k in (("h", 1), ("y", 2)):
            (edge,), (bias,) = nodes[name].weights, nodes[name].biases
            shape = nodes[name].biases[bias].shape
            nodes[name] = NodeParams(
                weights={edge: jnp.asarray(w[f"W_{k}"].T)}, biases={bias: jnp.asarray(w[f"b_{k}"]).reshape(shape)}
            )
        self.params = GraphParams(nodes=nodes)
        chosen = optax.adam(problem.rate) if optimizer == "adam" else optax.sgd(1.0)
        self.state = chosen.init(self.params)
        self.train = make_train_step(structure, chosen)
        self.soften = problem.soften

    def batch(self, x: np.ndarray, y: np.ndarray) -> tuple[jax.Array, jax.Array]:
        return jnp.asarray(x), jnp.asarray(self.soften(y))

    def step(self, x: jax.Array, y: jax.Array) -> None:
        self.params, self.state, *_ = self.train(self.params, self.state, {"x": x, "y": y}, self.key)

    def wait(self) -> None:
        jax.block_until_ready(self.params)

    def weights(self) -> Arrays:
        found = {}
        for name, k in (("h", 1), ("y", 2)):
            (weight,), (bias,) = self.params.nodes[name].weights.values(), self.params.nodes[name].biases.values()
            found |= {f"W_{k}": np.asarray(weight).T, f"b_{k}": np.asarray(bias).ravel()}
        return found


if __name__ == "__main__":
    setup_jax()
    main(FabricPC)
