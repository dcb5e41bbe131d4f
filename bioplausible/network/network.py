"""The layers of a rule, and how they are wired: the only place where shapes live."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from bioplausible.errors import UserError, user_errors
from bioplausible.errors.checks import require
from bioplausible.network.clamped import Clamped
from bioplausible.network.connection import Connection
from bioplausible.network.convolution import Convolution
from bioplausible.network.lateral import Lateral
from bioplausible.network.skip import Identity
from bioplausible.network.specification import MOST_NEURONS, Layer, Specification


class Network(nn.Module):
    """Layers 0 (the input) … L (the output) and the connections between them, by (presynaptic, postsynaptic) layer.

    In rules' equations, with all sums over the connections into or out of layer k::

        drive(k, r)             Σ Q(W * r_pre) + b              what layer k receives from below
        feedback(k, s, at=r)    Σ Vᵀ ⊛ Qᵀ s_post                what it receives from above; 0 at the output

    :meth:`clamp` gives the same verbs, in place, for the iterations of a relaxation.

    Args:
        specification: what it is made of.
        options: of every :class:`bioplausible.network.Connection`; connections from the input are tied in any case,
            for nothing goes back to it.

    Raises:
        UserError: a layer does not fit the one before it, or the output is no flat layer.
    """

    def __init__(self, specification: Specification, **options: Any) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = [specification.input_shape]
        """(channels, height, width) or (units,) of each layer."""
        found: dict[str, Connection] = {}
        for layer in specification.layers:
            main, *skips = self._connect(layer, options)
            found |= {f"{main.post}": main, **{f"{c.post}_from_{c.pre}": c for c in skips}}
        output = self.shapes[-1]
        require(
            len(output) == 1,
            f"{specification.layers[-1].name} is the output and has the shape {_times(output)}: end with a dense layer"
            " of as many units as there are classes.",
        )
        self.wiring = nn.ModuleDict(found)
        """The connections by name, for their parameters: ``k``, and ``k_from_j`` of a skip."""
        self.lateral = nn.ModuleDict()
        # looking a module up takes about as long as a small product, so plain lists hold them too
        self.connections: list[Connection] = list(found.values())
        """All connections, in the order of their postsynaptic layers, the one from the layer before it first."""
        self.laterals: dict[int, Lateral] = {}
        """The lateral weights by layer."""
        self.L = len(self.shapes) - 1
        """Number of the output layer."""
        self.sizes = [prod(shape) for shape in self.shapes]
        """Neurons of each layer, d_0 … d_L."""
        self.weighted = [c for c in self.connections if c.weight is not None]
        """The connections that have weights."""
        self._with_winners = [c for c in self.connections if c.has_winners]
        self._into = [[c for c in self.connections if c.post == k] for k in range(self.L + 1)]
        self._out_of = [[c for c in self.connections if c.pre == k] for k in range(self.L + 1)]
        self.chain = [connections[0] for connections in self._into[1:]]
        """The connections 1 … L from each layer to the next, skips left out."""
        self.settling = self._settling()
        """Number of the neurons that settle, and of the weights that an iteration reads: those of the input are not."""

    def add_laterals(self, laterals: Mapping[int, Lateral]) -> None:
        """Gives layers lateral weights, by their numbers."""
        for k, lateral in laterals.items():
            self.lateral[str(k)] = self.laterals[k] = lateral
        self.settling = self._settling()

    def into(self, k: int) -> list[Connection]:
        """Returns the connections into layer k, the one from the layer before it first."""
        return self._into[k]

    def out_of(self, k: int) -> list[Connection]:
        """Returns the connections out of layer k."""
        return self._out_of[k]

    # --------------------------------------------------------------------------------------------------- what flows

    def as_input(self, x: Tensor) -> Tensor:
        """Returns images or vectors (n × …) in the shape of layer 0.

        Raises:
            UserError: they have another number of values, there is but one image, without n, they are no
                floating-point numbers, or a layer of the network was replaced.
        """
        self._require_own_layers()
        shape = self.shapes[0]
        if not (x.is_floating_point() or x.is_complex()):
            raise UserError(
                f"The input has {str(x.dtype).removeprefix('torch.')} numbers, which don't say which value is white:"
                " give floating-point numbers in [0, 1], as images.float() / 255 does where white is 255."
            )
        if tuple(x.shape[1:]) == shape:
            return x
        if prod(x.shape[1:]) != prod(shape) and x.numel() == prod(shape):
            raise UserError(
                f"The input has the shape {_times(x.shape)}, that of a single sample: give a batch of it, x[None]."
            )
        if prod(x.shape[1:]) != prod(shape) or (len(shape) == 3 and x.ndim == 4):
            raise UserError(
                f"The input has the shape {_times(x.shape[1:])}, the network's first layer {_times(shape)}: let them"
                " agree."
            )
        return x.reshape(len(x), *shape)

    def as_input_of_precision(self, x: Tensor) -> Tensor:
        """Returns the same of images or vectors whose numbers are to be of the weights' precision already.

        Raises:
            UserError: they aren't, or are refused by :meth:`as_input`.
        """
        x = self.as_input(x)
        dtype = cast(Tensor, self.weighted[0].weight).dtype if self.weighted else x.dtype
        if x.dtype not in (dtype, dtype.to_complex()):
            raise UserError(
                f"The input has {str(x.dtype).removeprefix('torch.')} numbers, the weights"
                f" {str(dtype).removeprefix('torch.')}: give x.to(rule.dtype)."
            )
        return x

    def drive(self, k: int, r: Sequence[Tensor]) -> Tensor:
        """Returns what layer k receives from below (n × shape_k), biases included."""
        first, *others = self._into[k]
        received = first.feedforward(r[first.pre])
        for c in others:
            received = received + c.feedforward(r[c.pre])
        return received

    def unpooled_drive(self, k: int, r: Sequence[Tensor]) -> Tensor:
        """Returns what the neurons before layer k's pooling receive from below (n × unpooled shape), biases included.

        :meth:`drive` is Q of it: what skips bring to a window reaches each of its positions.
        """
        main, *skips = self._into[k]
        if main.pool is None:
            return self.drive(k, r)
        received = main.transform(main.weight, r[main.pre])
        if main.bias is not None:
            received = received + main.bias_of_positions()
        for c in skips:
            received = received + main.pool.spread(c.feedforward(r[c.pre]), *received.shape[2:])
        return received

    def correlate_unpooled(self, c: Connection, post: Tensor, pre: Tensor) -> Tensor:
        """Returns ⟨z r⟩, of W's shape, of a connection, where z is of the neurons before its layer's pooling.

        Args:
            c: the connection.
            post: z (n × unpooled shape of layer c.post).
            pre: r (n × shape of layer c.pre).
        """
        main = self._into[c.post][0]
        if main.pool is None:
            return c.correlate(post, pre)
        return c.correlate_unpooled(post, pre) if c is main else c.correlate(main.pool.sums(post), pre)

    def feedback(self, k: int, s: Sequence[Tensor], at: Sequence[Tensor]) -> Tensor:
        """Returns what layer k receives from above (n × shape_k) through V, where layers 0 … L hold s; 0 at the output.

        Args:
            k: the layer.
            s: by layer; those above k count.
            at: by layer, the activity whose winners max pooling passes through.
        """
        if not self._out_of[k]:
            return torch.zeros_like(at[k])
        first, *others = self._out_of[k]
        received = first.feedback(s[first.post], at[k])
        for c in others:
            received = received + c.feedback(s[c.post], at[k])
        return received

    def clamp(self, x: Tensor, top: int | None = None, complex_states: bool = False) -> Clamped:
        """Returns the network with its input held at x (n × shape_0), for as long as no weight changes.

        Args:
            x: the input, real.
            top: the last layer; None: the output.
            complex_states: whether the states that it moves are complex.
        """
        return Clamped(self, x, self.L if top is None else top, complex_states)

    @contextmanager
    def weights_held(self) -> Iterator[Callable[[], None]]:
        """Within it the winners of max pooling at an activity are found once.

        Yields:
            What to call where weights have changed: then they are found anew.
        """

        def hold() -> None:
            for connection in self._with_winners:
                connection.hold_weights(True)

        hold()
        try:
            yield hold
        finally:
            for connection in self._with_winners:
                connection.hold_weights(False)

    def redraw_feedback(self, generator: torch.Generator) -> None:
        """Draws the magnitudes of batchwise random sign-sharing feedback anew."""
        for connection in self.connections:
            connection.redraw_feedback(generator)

    # ------------------------------------------------------------------------------------------------------- building

    def _require_own_layers(self) -> None:
        """Raises UserError where another layer was put into :attr:`wiring` or :attr:`lateral`: nothing would use it."""
        if [*self.wiring.values()] == self.connections and [*self.lateral.values()] == [*self.laterals.values()]:
            return
        part = "wiring" if [*self.wiring.values()] != self.connections else "lateral"
        raise UserError(
            f"network.{part} holds another layer than the network was built with, which it would not use: put back the"
            f' one that was there, and give it the weights of the other, as network.{part}["1"].load_state_dict('
            "other.state_dict()) does."
        )

    def _connect(self, layer: Layer, options: Mapping[str, Any]) -> list[Connection]:
        """Adds a layer and returns the connections into it."""
        k, before = layer.number, self.shapes[-1]
        from_input: dict[str, Any] = {"feedback": "tied"}
        try:
            with user_errors("it can't be built", "correct its arguments, or its class"):
                main = layer.connect(before, **{**options, **(from_input if k == 1 else {})})
        except UserError as error:
            raise UserError(
                f"{layer.name} does not fit its input {_times(before)}: {str(error).rstrip('.')}."
            ) from error
        main.pre, main.post = k - 1, k
        shape = main.post_shape
        require(
            all(d >= 1 for d in shape) and prod(shape) <= MOST_NEURONS,
            f"{layer.name} has {_times(shape)} neurons: give it between 1 and {MOST_NEURONS}.",
        )
        require(
            len(shape) in (1, 3),
            f"{layer.name} has the shape {_times(shape)}: let its transform return (n × units) or"
            " (n × channels × height × width).",
        )
        self.shapes.append(shape)
        skips: list[Connection] = []
        for skip in layer.skips:
            pre_shape = self.shapes[skip.pre]
            images = len(pre_shape) == 3 and len(shape) == 3
            cure = f"give skip: {{from: {skip.pre}, stride: …}} for a 1 × 1 convolution whose stride makes them agree"
            cure = cure if images else "leave the skip out"
            connection: Connection
            if skip.stride is None:
                connection = Identity(pre_shape)
            else:
                require(
                    images,
                    f"{layer.name} has a 1 × 1 convolution from layer {skip.pre}, {_times(pre_shape)}: it joins images"
                    " alone, so leave it out.",
                )
                of_skip = {**options, "bias": False, "gain": skip.gain, **(from_input if skip.pre == 0 else {})}
                connection = Convolution(pre_shape, shape[0], 1, skip.stride, **of_skip)
                cure = "choose another stride"
            require(
                connection.post_shape == shape,
                f"{layer.name} receives {_times(shape)} from the layer before it and {_times(connection.post_shape)}"
                f" from layer {skip.pre}, {_times(pre_shape)}: {cure}.",
            )
            connection.pre, connection.post = skip.pre, k
            skips.append(connection)
        twice = {c.pre for c in skips}
        require(len(twice) == len(skips), f"{layer.name} has two skips from the same layer: leave out one.")
        return [main, *skips]

    def _settling(self) -> tuple[int, int]:
        inner = [c.weight for c in self.weighted if c.pre > 0] + [lateral.weight for lateral in self.laterals.values()]
        return sum(self.sizes[1:]), sum(weight.numel() for weight in inner if weight is not None)

    # ---------------------------------------------------------------------------------------------------- what it is

    def rows(self) -> list[tuple[str, ...]]:
        """Returns the rows of :meth:`table`, the heading first."""
        lines: list[tuple[str, ...]] = [("layer", "shape", "wiring", "weights", "kFLOP")]
        lines.append(("0", _times(self.shapes[0]), "input", "", ""))
        for k, shape in enumerate(self.shapes[1:], start=1):
            first = (str(k), _times(shape))
            for c in self.into(k):
                weights = sum(p.numel() for p in (c.weight, c.bias) if p is not None)
                wiring = c.describe() + ("" if first[0] else f" from layer {c.pre}")
                lines.append((*first, wiring, f"{weights:,}", f"{c.operations / 1e3:,.1f}"))
                first = ("", "")
            if k in self.laterals:
                matrix = self.laterals[k].weight
                operations = 2 * matrix.numel() * prod(shape[1:]) / 1e3
                wiring = f"lateral, {len(matrix)} × {len(matrix)}"
                lines.append((*first, wiring, f"{matrix.numel():,}", f"{operations:,.1f}"))
        return lines

    def table(self) -> str:
        """Returns the layers as a table: shape, weights, and operations of the connections a sample."""
        lines = self.rows()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]

        def row(line: Sequence[str]) -> str:
            left = (f"{text:<{width}}" for text, width in zip(line[:3], widths, strict=False))
            right = (f"{text:>{width}}" for text, width in zip(line[3:], widths[3:], strict=True))
            return "  ".join([*left, *right]).rstrip()

        return "\n".join(map(row, lines))


def _times(shape: Sequence[int]) -> str:
    """Returns ``3 × 32 × 32``."""
    return " × ".join(map(str, shape))
