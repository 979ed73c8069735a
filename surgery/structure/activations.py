"""Activations by how they treat channels."""

ELEMENTWISE = frozenset(
    """
    celu elu exponential gelu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu
    linear log_sigmoid mish relu relu6 selu sigmoid silu soft_shrink softplus softsign
    sparse_plus sparse_sigmoid squareplus swish tanh tanh_shrink threshold
    """.split()  # noqa: SIM905 - as a list it is a page
)
"""Activations that look at one element at a time."""

NORMALIZING = frozenset({"softmax", "log_softmax", "sparsemax"})
"""Activations that look at all channels of a place together."""
