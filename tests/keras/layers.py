"""One small model for every layer class of keras.layers that has weights, in each variety."""

SEQUENCE, IMAGE, FLAT = (5, 4), (6, 6, 4), (4,)


def single(keras, layer, shape, calls="x"):
    inputs = keras.Input(shape)
    outputs = {"x": lambda: layer(inputs), "xx": lambda: layer(inputs, inputs),
               "[xx]": lambda: layer([inputs, inputs])}[calls]()  # fmt: skip
    return keras.Model(inputs, outputs)


def varieties(keras):
    """By name: a function that builds the layer, the input shape, and how it is called."""
    L = keras.layers  # noqa: N806
    table = {
        "Dense": (lambda: L.Dense(3), FLAT),
        "Dense-without-bias": (lambda: L.Dense(3, use_bias=False), FLAT),
        "Dense-lora": (lambda: L.Dense(3, lora_rank=2), FLAT),
        "EinsumDense": (lambda: L.EinsumDense("abc,cd->abd", (None, 5), bias_axes="d"), SEQUENCE),
        "EinsumDense-without-bias": (lambda: L.EinsumDense("abc,cd->abd", (None, 5)), SEQUENCE),
        "Embedding": (lambda: L.Embedding(5, 3), FLAT),
        "ReversibleEmbedding": (lambda: L.ReversibleEmbedding(5, 3), FLAT),
        "ReversibleEmbedding-untied": (
            lambda: L.ReversibleEmbedding(5, 3, tie_weights=False), FLAT),
        "Conv1D": (lambda: L.Conv1D(3, 2), SEQUENCE),
        "Conv2D": (lambda: L.Conv2D(3, 2), IMAGE),
        "Conv2D-without-bias": (lambda: L.Conv2D(3, 2, use_bias=False), IMAGE),
        "Conv3D": (lambda: L.Conv3D(3, 2), (4, 4, 4, 2)),
        "Conv1DTranspose": (lambda: L.Conv1DTranspose(3, 2), SEQUENCE),
        "Conv2DTranspose": (lambda: L.Conv2DTranspose(3, 2), IMAGE),
        "Conv3DTranspose": (lambda: L.Conv3DTranspose(3, 2), (4, 4, 4, 2)),
        "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(2), SEQUENCE),
        "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(2), IMAGE),
        "SeparableConv1D": (lambda: L.SeparableConv1D(3, 2), SEQUENCE),
        "SeparableConv2D": (lambda: L.SeparableConv2D(3, 2, use_bias=False), IMAGE),
        "BatchNormalization": (lambda: L.BatchNormalization(), FLAT),
        "BatchNormalization-no-scale": (lambda: L.BatchNormalization(scale=False), FLAT),
        "BatchNormalization-no-center": (lambda: L.BatchNormalization(center=False), FLAT),
        "BatchNormalization-renorm": (lambda: L.BatchNormalization(renorm=True), FLAT),
        "LayerNormalization": (lambda: L.LayerNormalization(), FLAT),
        "LayerNormalization-no-center": (lambda: L.LayerNormalization(center=False), FLAT),
        "LayerNormalization-rms": (lambda: L.LayerNormalization(rms_scaling=True), FLAT),
        "GroupNormalization": (lambda: L.GroupNormalization(2), FLAT),
        "RMSNormalization": (lambda: L.RMSNormalization(), FLAT),
        "UnitNormalization": (lambda: L.UnitNormalization(), FLAT),
        "SpectralNormalization": (lambda: L.SpectralNormalization(L.Dense(3, name="in")), FLAT),
        "SpectralNormalization-conv": (
            lambda: L.SpectralNormalization(L.Conv2D(3, 2, name="in")), IMAGE),
        "SpectralNormalization-embedding": (
            lambda: L.SpectralNormalization(L.Embedding(5, 3, name="in")), FLAT),
        "PReLU": (lambda: L.PReLU(), FLAT),
        "LSTM": (lambda: L.LSTM(3), SEQUENCE),
        "LSTM-without-bias": (lambda: L.LSTM(3, use_bias=False, dropout=0.1), SEQUENCE),
        "GRU": (lambda: L.GRU(3), SEQUENCE),
        "SimpleRNN": (lambda: L.SimpleRNN(3), SEQUENCE),
        "RNN": (lambda: L.RNN(L.GRUCell(3)), SEQUENCE),
        "RNN-stacked": (lambda: L.RNN([L.LSTMCell(3), L.LSTMCell(3), L.GRUCell(2)]), SEQUENCE),
        "RNN-StackedRNNCells": (
            lambda: L.RNN(L.StackedRNNCells([L.SimpleRNNCell(3), L.GRUCell(2)])), SEQUENCE),
        "ConvLSTM1D": (lambda: L.ConvLSTM1D(3, 2), (3, 6, 4)),
        "ConvLSTM2D": (lambda: L.ConvLSTM2D(3, 2), (3, 6, 6, 4)),
        "ConvLSTM3D": (lambda: L.ConvLSTM3D(2, 2), (3, 4, 4, 4, 2)),
        "Bidirectional": (lambda: L.Bidirectional(L.LSTM(3, name="rnn")), SEQUENCE),
        "Bidirectional-backward": (
            lambda: L.Bidirectional(
                L.LSTM(3), backward_layer=L.GRU(3, go_backwards=True, name="back")), SEQUENCE),
        "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(3)), SEQUENCE),
        "TimeDistributed-model": (
            lambda: L.TimeDistributed(
                keras.Sequential([keras.Input((4,)), L.Dense(3), L.Dense(3)])), SEQUENCE),
        "TimeDistributed-Bidirectional": (
            lambda: L.TimeDistributed(L.Bidirectional(L.GRU(2))), (3, 5, 4)),
        "Normalization": (lambda: L.Normalization(), FLAT),
        "Normalization-given": (lambda: L.Normalization(mean=1.0, variance=2.0), FLAT),
        "Attention": (lambda: L.Attention(use_scale=True, score_mode="concat"), SEQUENCE, "[xx]"),
        "Attention-plain": (lambda: L.Attention(), SEQUENCE, "[xx]"),
        "AdditiveAttention": (lambda: L.AdditiveAttention(), SEQUENCE, "[xx]"),
        "AdditiveAttention-plain": (
            lambda: L.AdditiveAttention(use_scale=False), SEQUENCE, "[xx]"),
        "MultiHeadAttention": (lambda: L.MultiHeadAttention(2, 3), SEQUENCE, "xx"),
        "MultiHeadAttention-plain": (
            lambda: L.MultiHeadAttention(2, 3, use_bias=False), SEQUENCE, "xx"),
        "MultiHeadAttention-gate": (
            lambda: L.MultiHeadAttention(2, 3, use_gate=True), SEQUENCE, "xx"),
        "GroupQueryAttention": (lambda: L.GroupQueryAttention(4, 4, 2), SEQUENCE, "xx"),
        "GroupQueryAttention-gate": (
            lambda: L.GroupQueryAttention(4, 4, 2, use_gate=True), SEQUENCE, "xx"),
        "Pipeline": (lambda: L.Pipeline([L.RandomFlip(), L.Rescaling(0.5)]), IMAGE),
        "Dropout": (lambda: L.Dropout(0.5), FLAT),
        "RandomFlip": (lambda: L.RandomFlip(), IMAGE),
    }  # fmt: skip
    return {name: (*entry, "x")[:3] for name, entry in table.items()}


NAMES = list(varieties(__import__("types").SimpleNamespace(layers=None)))
QUANTIZED = [
    (name, mode)
    for name in ("Dense", "Dense-without-bias", "EinsumDense", "Embedding", "ReversibleEmbedding",
                 "ReversibleEmbedding-untied")
    for mode in ("int8", "int4", "float8")
    if not (mode == "float8" and "Embedding" in name)
]  # fmt: skip
