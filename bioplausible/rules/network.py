"""What the layered networks of several rules have in common."""

from collections.abc import Callable, Iterable

from torch import Tensor

from bioplausible.network import Dense


def feedforward_network(x: Tensor, connections: Iterable[Dense], activation: Callable[[int, Tensor], Tensor]) -> Tensor:
    """Returns the output (n × d_L) of a feedforward pass; ``activation`` gets the layer's number and its input."""
    for k, connection in enumerate(connections, start=1):
        x = activation(k, connection.feedforward(x))
    return x


def clip(u: Tensor) -> Tensor:
    """Returns min(max(u, 0), 1)."""
    return u.clamp(0, 1)


def weights_and_biases(connections: Iterable[Dense]) -> dict[str, Tensor]:
    """Returns the connections' weights and biases by their keys in a recorded trajectory: ``W{i}`` and ``b{i}``."""
    named = [(f"{name}{i}", t) for i, c in enumerate(connections) for name, t in (("W", c.weight), ("b", c.bias))]
    return {name: tensor for name, tensor in named if tensor is not None}
