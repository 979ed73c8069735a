"""Calls of every class of keras.layers and of every operation of keras.ops, for its shape.

By class: what it is made with, and what it is called with, in which tuples are shapes of tensors.
A row may end with keyword arguments of the call, and the dtype of the tensors.
"""

IMAGES = [(None, 9, 8, 3), (2, 7, 7, 4), (None, None, 6, 1)]
FIXED = [(2, 7, 7, 3), (4, 9, 8, 3), (1, 5, 6, 3)]
ANY = [(None, 5), (None, 7, 3), (2, None, 4, 6)]
WINDOWS = {
    1: [(None, 11, 6), (2, 8, 4), (None, None, 2)],
    2: [(None, 11, 9, 6), (2, 8, 13, 4), (None, None, 7, 2)],
    3: [(None, 11, 9, 8, 6), (2, 8, 7, 13, 4), (None, None, 7, None, 2)],
}


def turned(shape):
    """The shape with its channels first."""
    return (shape[0], shape[-1], *shape[1:-1])


def same(*options, shapes=ANY):
    """The layer made with each of the options, called with each of the shapes."""
    return [(option, [shape]) for option in options or [{}] for shape in shapes]


def windows(rank, *options):
    """Rows in both data formats."""
    rows = []
    for option in options:
        for shape in WINDOWS[rank]:
            rows.append((option, [shape]))
            rows.append(({**option, "data_format": "channels_first"}, [turned(shape)]))
    return rows


def kernels(rank, **others):
    """Convolutions with all that changes their size."""
    return windows(
        rank,
        {"kernel_size": 3, **others},
        {"kernel_size": list(range(2, 2 + rank)), "strides": 2, **others},
        {"kernel_size": 4, "strides": list(range(1, 1 + rank)), "padding": "same", **others},
        {"kernel_size": 2, "dilation_rate": 3, **others},
        {"kernel_size": 3, "dilation_rate": 2, "padding": "same", "use_bias": False, **others},
    )


def transposed(rank):
    """Transposed convolutions with all that changes their size."""
    return windows(
        rank,
        {"filters": 5, "kernel_size": 3},
        {"filters": 5, "kernel_size": list(range(2, 2 + rank)), "strides": 3},
        {"filters": 5, "kernel_size": 4, "strides": 2, "padding": "same"},
        {"filters": 5, "kernel_size": 3, "strides": 2, "padding": "same", "output_padding": 1},
        {"filters": 5, "kernel_size": 3, "strides": 2, "output_padding": 1},
        {"filters": 5, "kernel_size": 2, "dilation_rate": 2},
    )


def pools(rank):
    return windows(
        rank,
        {"pool_size": 2},
        {"pool_size": list(range(2, 2 + rank)), "strides": 1},
        {"pool_size": 3, "strides": 2, "padding": "same"},
        {"pool_size": 3, "strides": list(range(1, 1 + rank))},
    )


def sizes(rank, key, *values):
    return windows(rank, *({key: value} for value in values))


def recurrent(class_name, **options):
    flags = [
        {}, {"return_sequences": True}, {"return_state": True},
        {"return_sequences": True, "return_state": True, "go_backwards": True},
    ]  # fmt: skip
    shapes = [(None, 7, 3), (2, 4, 5), (None, None, 4)]
    return [({**options, **flag}, [shape]) for flag in flags for shape in shapes]


def conv_recurrent(rank):
    rows = []
    for option in (
        {"filters": 3, "kernel_size": 2},
        {"filters": 3, "kernel_size": 3, "strides": 2, "return_sequences": True},
        {"filters": 2, "kernel_size": 2, "padding": "same", "return_state": True},
        {"filters": 2, "kernel_size": 2, "dilation_rate": 2, "return_state": True,
         "return_sequences": True},
    ):  # fmt: skip
        rows.append((option, [(None, 4, *(9, 8, 7)[:rank], 3)]))
        rows.append((option, [(2, None, *(6, 9, 5)[:rank], 1)]))
        rows.append(
            ({**option, "data_format": "channels_first"}, [(None, 4, 3, *(9, 8, 7)[:rank])])
        )
    return rows


def layer(class_name, **config):
    """A layer in another one's arguments."""
    return {"class_name": class_name, "config": config}


MERGED = [
    ({}, [[(None, 4), (None, 4)]]),
    ({}, [[(None, 4, 5), (None, 1, 5)]]),
    ({}, [[(None, 1, 5), (None, 4, 1)]]),
    ({}, [[(2, 4, 3), (None, None, 3)]]),
    ({}, [[(None, 6, 7, 3), (None, 3)]]),
]
MULTIHEAD = [
    ([(None, 6, 8), (None, 6, 8)], {}),
    ([(None, 6, 8), (None, 9, 5), (None, 9, 7)], {}),
    ([(2, None, 8), (2, 4, 5)], {}),
    ([(None, 6, 8), (None, 6, 8)], {"return_attention_scores": True}),
]
LOOKUPS = [
    ({"vocabulary": [3, 7, 9]}, [(None, 4)], {}, "int64"),
    ({"vocabulary": [3, 7, 9], "output_mode": "multi_hot"}, [(None, 4)], {}, "int64"),
    ({"vocabulary": [3, 7, 9], "output_mode": "one_hot"}, [(None, 1)], {}, "int64"),
    ({"max_tokens": 9, "vocabulary": [3, 7], "output_mode": "count", "pad_to_max_tokens": True},
     [(2, 4)], {}, "int64"),
    ({"max_tokens": 9, "output_mode": "int"}, [(2, None, 4)], {}, "int64"),
]  # fmt: skip


def texts(rows):
    """The same rows with words for numbers."""
    return [
        ({**made, **({"vocabulary": [str(word) for word in made["vocabulary"]]}
                     if "vocabulary" in made else {})}, args, kwargs, "string")
        for made, args, kwargs, _ in rows
    ]  # fmt: skip


LAYERS = {
    "Activation": same({"activation": "relu"}, {"activation": "softmax"}),
    "ActivityRegularization": same({"l1": 0.1}),
    **{f"Adaptive{kind}Pooling{n}D": sizes(n, "output_size", 2, list(range(1, 1 + n)))
       for kind in ("Average", "Max") for n in (1, 2, 3)},
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply"), MERGED),
    "AdditiveAttention": [
        ({}, [[(None, 6, 8), (None, 6, 8)]]),
        ({"use_scale": False}, [[(None, 6, 8), (None, 9, 8)]], {"return_attention_scores": True}),
        ({}, [[(2, None, 8), (2, 4, 8), (2, 4, 8)]]),
    ],
    "AlphaDropout": same({"rate": 0.1}),
    "Attention": [
        ({}, [[(None, 6, 8), (None, 6, 8)]]),
        ({"use_scale": True}, [[(None, 6, 8), (None, 9, 5), (None, 9, 8)]]),
        ({"score_mode": "concat"}, [[(2, None, 8), (2, 4, 8)]], {"return_attention_scores": True}),
    ],
    "AugMix": same(shapes=FIXED),
    "AutoContrast": same(shapes=IMAGES),
    **{f"{kind}Pooling{n}D": pools(n) for kind in ("Average", "Max") for n in (1, 2, 3)},
    "BatchNormalization": same({}, {"axis": 1}, shapes=[(None, 5), (None, 7, 3), (2, 3, 4, 6)]),
    "Bidirectional": [
        ({"layer": layer("LSTM", units=3)}, [(None, 7, 4)]),
        ({"layer": layer("GRU", units=3, return_sequences=True), "merge_mode": "sum"},
         [(None, None, 4)]),
        ({"layer": layer("LSTM", units=3, return_state=True)}, [(2, 7, 4)]),
        ({"layer": layer("LSTM", units=3, return_state=True), "merge_mode": None}, [(2, 7, 4)]),
        ({"layer": layer("SimpleRNN", units=3), "merge_mode": None}, [(None, 7, 4)]),
        ({"layer": layer("LSTM", units=3), "backward_layer": layer("GRU", units=3,
          go_backwards=True)}, [(None, 7, 4)]),
    ],
    "CategoryEncoding": [
        ({"num_tokens": 4}, [(None, 3)]),
        ({"num_tokens": 4, "output_mode": "one_hot"}, [(None, 1)]),
        ({"num_tokens": 4, "output_mode": "one_hot"}, [(None, 3)]),
        ({"num_tokens": 4, "output_mode": "count"}, [(2, 5, 3)]),
    ],
    "CenterCrop": [
        ({"height": 3, "width": 2}, [(None, 9, 8, 3)]),
        ({"height": 3, "width": 2, "data_format": "channels_first"}, [(None, 3, 9, 8)]),
        ({"height": 3, "width": 2}, [(9, 8, 3)]),
    ],
    "Concatenate": [
        ({}, [[(None, 4), (None, 6), (None, 1)]]),
        ({"axis": 1}, [[(None, 4, 5), (None, 1, 5)]]),
        ({"axis": -2}, [[(None, None, 5), (None, 3, 5)]]),
        ({"axis": 3}, [[(None, 4, 5, 2), (None, 4, 5, 3)]]),
    ],
    "ContrastLimitedAdaptiveHistogramEqualization": same(
        shapes=[(None, 16, 16, 3), (2, 32, 8, 1), (2, 16, 24, 3)]),
    "Conv1D": kernels(1, filters=5) + windows(1, {"filters": 4, "kernel_size": 2, "groups": 2})
    + same({"filters": 3, "kernel_size": 3, "padding": "causal", "strides": 2}, shapes=WINDOWS[1]),
    "Conv2D": kernels(2, filters=5) + windows(2, {"filters": 4, "kernel_size": 2, "groups": 2}),
    "Conv3D": kernels(3, filters=5),
    "Conv1DTranspose": transposed(1),
    "Conv2DTranspose": transposed(2),
    "Conv3DTranspose": transposed(3),
    **{f"ConvLSTM{n}D": conv_recurrent(n) for n in (1, 2, 3)},
    "Cropping1D": same({"cropping": 2}, {"cropping": [1, 0]}, shapes=WINDOWS[1]),
    "Cropping2D": sizes(2, "cropping", 1, [2, 1], [[1, 0], [0, 3]]),
    "Cropping3D": sizes(3, "cropping", 1, [2, 1, 0], [[1, 0], [0, 3], [1, 1]]),
    "CutMix": same(shapes=FIXED),
    "Dense": same({"units": 3}, {"units": 1, "use_bias": False}),
    "DepthwiseConv1D": kernels(1) + kernels(1, depth_multiplier=3),
    "DepthwiseConv2D": kernels(2) + kernels(2, depth_multiplier=3),
    "Discretization": [
        ({"bin_boundaries": [0.0, 1.0]}, [(None, 3)]),
        ({"bin_boundaries": [0.0, 1.0], "output_mode": "one_hot"}, [(None, 3)]),
        ({"bin_boundaries": [0.0, 1.0], "output_mode": "one_hot"}, [(None, 1)]),
        ({"bin_boundaries": [0.0, 1.0], "output_mode": "multi_hot"}, [(None, 3)]),
        ({"num_bins": 4}, [(2, 3, 4)]),
    ],
    "Dot": [
        ({"axes": 1}, [[(None, 4), (None, 4)]]),
        ({"axes": [2, 1]}, [[(None, 4, 5), (None, 5, 7)]]),
        ({"axes": -1}, [[(2, 4, 5), (2, 7, 5)]]),
        ({"axes": 1, "normalize": True}, [[(None, 4, 6), (None, 4, 7)]]),
    ],
    "Dropout": same({"rate": 0.1}),
    "ELU": same({}, {"alpha": 0.5}),
    "EinsumDense": [
        ({"equation": "abc,cd->abd", "output_shape": [None, 5]}, [(None, 7, 3)]),
        ({"equation": "...x,xy->...y", "output_shape": 5, "bias_axes": "y"}, [(None, 7, 3)]),
        ({"equation": "...x,xy->...y", "output_shape": 5}, [(None, 7, 6, 3)]),
        ({"equation": "ab...,bc->ac...", "output_shape": 5}, [(None, 7, 6, 3)]),
        ({"equation": "abc,bcde->ade", "output_shape": [5, 6]}, [(None, 4, 3)]),
        ({"equation": "abc,cde->abde", "output_shape": [7, 2, 4], "bias_axes": "de"},
         [(2, 7, 3)]),
    ],
    "Embedding": same({"input_dim": 9, "output_dim": 4}, shapes=[(None,), (None, 5), (2, None, 4)]),
    "Equalization": same(shapes=FIXED),
    "Flatten": same(shapes=[(None, 5), (None, 7, 3), (2, None, 4), (None,)]),
    "GRU": recurrent("GRU", units=3),
    "GRUCell": [
        ({"units": 3}, [(None, 4), (None, 3)]),
        ({"units": 3}, [(2, 4), [(2, 3)]]),
        ({"units": 3, "reset_after": False}, [(None, 5), [(None, 3)]]),
    ],
    "GaussianDropout": same({"rate": 0.1}),
    "GaussianNoise": same({"stddev": 0.1}),
    **{f"Global{kind}Pooling{n}D": windows(n, {}, {"keepdims": True})
       for kind in ("Average", "Max") for n in (1, 2, 3)},
    "GroupNormalization": same({"groups": 2}, shapes=[(None, 4), (None, 7, 6), (2, 3, 5, 2)]),
    "GroupQueryAttention": [
        ({"head_dim": 4, "num_query_heads": 4, "num_key_value_heads": 2}, args, kwargs)
        for args, kwargs in (
            ([(None, 6, 8), (None, 6, 8)], {}),
            ([(2, 6, 8), (2, 9, 8), (2, 9, 8)], {"return_attention_scores": True}),
            ([(None, None, 8), (None, 4, 8)], {}),
        )
    ],
    "HashedCrossing": [
        ({"num_bins": 5}, [[(None, 1), (None, 1)]], {}, "int32"),
        ({"num_bins": 5, "output_mode": "one_hot"}, [[(None, 1), (None, 1)]], {}, "int32"),
        ({"num_bins": 5}, [[(4, 1), (4, 1)]], {}, "int32"),
    ],
    "Hashing": [
        ({"num_bins": 5}, [(None, 3)], {}, "int32"),
        ({"num_bins": 5, "output_mode": "multi_hot"}, [(None, 3)], {}, "int32"),
        ({"num_bins": 5, "output_mode": "one_hot"}, [(2, 1)], {}, "int32"),
    ],
    "Identity": same(),
    "IntegerLookup": LOOKUPS,
    "LSTM": recurrent("LSTM", units=3),
    "LSTMCell": [
        ({"units": 3}, [(None, 4), [(None, 3), (None, 3)]]),
        ({"units": 2}, [(2, 4), [(2, 2), (2, 2)]]),
        ({"units": 5, "use_bias": False}, [(None, 6), [(None, 5), (None, 5)]]),
    ],
    "LayerNormalization": same({}, {"scale": False}, shapes=[(None, 5), (None, 7, 3), (2, 3, 4)]),
    "LeakyReLU": same({}, {"negative_slope": 0.1}),
    "Lambda": [
        ({"function": layer("Activation", activation="relu"), "output_shape": (4, None)},
         [(None, 5)]),
        ({"function": layer("Activation", activation="relu"), "output_shape": (4,)}, [(2, 5)]),
        ({"function": layer("Activation", activation="relu"), "output_shape": ()}, [(None, 5)]),
    ],
    "Masking": same({}, {"mask_value": 1.0}, shapes=ANY[1:]),
    "MaxNumBoundingBoxes": [
        ({"max_number": number},
         [{"images": (None, 9, 8, 3), "bounding_boxes": {"boxes": boxes, "labels": boxes[:2]}}])
        for number, boxes in ((3, (None, 7, 4)), (9, (2, 7, 4)), (1, (None, 5, 4)))
    ],
    "MelSpectrogram": same(
        {}, {"num_mel_bins": 20, "sequence_stride": 100, "fft_length": 256},
        shapes=[(None, 16000), (2, 9000), (8000,)]),
    "MixUp": same(shapes=FIXED),
    "MultiHeadAttention": [
        (made, args, kwargs)
        for made in ({"num_heads": 2, "key_dim": 3}, {"num_heads": 2, "key_dim": 3,
                     "value_dim": 5, "output_shape": 7, "use_gate": True},
                     {"num_heads": 2, "key_dim": 3, "output_shape": [4, 6]})
        for args, kwargs in MULTIHEAD
    ],
    "Normalization": same({"mean": 1.0, "variance": 2.0}, {}, shapes=[(None, 5), (None, 7, 3)]),
    "PReLU": same({}, shapes=[(None, 5), (None, 7, 3), (2, 3, 4)]),
    "Permute": [
        ({"dims": [2, 1]}, [(None, 7, 3)]),
        ({"dims": [3, 1, 2]}, [(None, None, 3, 4)]),
        ({"dims": [1]}, [(2, 4)]),
    ],
    "Pipeline": [
        ({"layers": [layer("RandomFlip"), layer("Rescaling", scale=0.5)]}, [(None, 9, 8, 3)]),
        ({"layers": [layer("Resizing", height=4, width=5)]}, [(None, 9, 8, 3)]),
        ({"layers": [layer("Resizing", height=4, width=5), layer("CenterCrop", height=2, width=3)]},
         [(2, 9, 8, 1)]),
    ],
    "RMSNormalization": same({}, shapes=[(None, 5), (None, 7, 3), (2, 3, 4)]),
    "RNN": [
        ({"cell": layer("LSTMCell", units=3)}, [(None, 7, 4)]),
        ({"cell": layer("GRUCell", units=3), "return_sequences": True}, [(None, None, 4)]),
        ({"cell": layer("SimpleRNNCell", units=3), "return_state": True}, [(2, 7, 4)]),
        ({"cell": layer("LSTMCell", units=3), "return_state": True}, [(2, 7, 4)]),
        ({"cell": layer("StackedRNNCells", cells=[
            layer("LSTMCell", units=3), layer("GRUCell", units=2)]), "return_sequences": True},
         [(None, 7, 4)]),
        ({"cell": layer("StackedRNNCells", cells=[
            layer("LSTMCell", units=3), layer("LSTMCell", units=2)]), "return_state": True},
         [(None, 7, 4)]),
    ],
    "RandAugment": same(shapes=FIXED),
    **{name: same(options, shapes=[(None, 9, 8, 3), (2, 7, 7, 3), (8, 6, 3)])
       for name, options in {
           "RandomBrightness": {"factor": 0.1}, "RandomColorDegeneration": {"factor": 0.1},
           "RandomColorJitter": {}, "RandomContrast": {"factor": 0.1},
           "RandomElasticTransform": {}, "RandomErasing": {}, "RandomFlip": {},
           "RandomGaussianBlur": {}, "RandomGrayscale": {}, "RandomHue": {"factor": 0.1},
           "RandomInvert": {}, "RandomPerspective": {}, "RandomPosterization": {"factor": 4},
           "RandomRotation": {"factor": 0.1}, "RandomSaturation": {"factor": 0.1},
           "RandomSharpness": {"factor": 0.1}, "RandomShear": {"x_factor": 0.1},
           "RandomTranslation": {"height_factor": 0.1, "width_factor": 0.1},
           "RandomZoom": {"height_factor": 0.1}, "Solarization": {"threshold_factor": 0.5},
       }.items()},
    "RandomCrop": [
        ({"height": 3, "width": 2}, [(None, 9, 8, 3)]),
        ({"height": 3, "width": 2, "data_format": "channels_first"}, [(None, 3, 9, 8)]),
        ({"height": 3, "width": 2}, [(2, 9, 8, 1)]),
    ],
    "ReLU": same({}, {"max_value": 6.0}),
    "RepeatVector": [({"n": 3}, [(None, 4)]), ({"n": 1}, [(2, 5)]), ({"n": 7}, [(None, None)])],
    "Rescaling": same({"scale": 0.5}, {"scale": 2.0, "offset": 1.0}),
    "Reshape": [
        ({"target_shape": [3, 4]}, [(None, 12)]),
        ({"target_shape": [-1, 4]}, [(None, 3, 8)]),
        ({"target_shape": [-1]}, [(None, None, 8)]),
        ({"target_shape": [2, -1, 3]}, [(5, 12)]),
        ({"target_shape": []}, [(None, 1)]),
    ],
    "Resizing": [
        ({"height": 3, "width": 2}, [(None, 9, 8, 3)]),
        ({"height": 3, "width": 2, "data_format": "channels_first"}, [(None, 3, 9, 8)]),
        ({"height": 30, "width": 20}, [(9, 8, 3)]),
    ],
    "ReversibleEmbedding": [
        ({"input_dim": 9, "output_dim": 4}, [(None, 5)]),
        ({"input_dim": 9, "output_dim": 4, "tie_weights": False}, [(2, None)]),
        ({"input_dim": 9, "output_dim": 4}, [(None, 5, 4)], {"reverse": True}),
    ],
    "STFTSpectrogram": windows(
        1, {"frame_length": 4, "window": None},
        {"frame_length": 4, "frame_step": 1, "expand_dims": True, "window": None},
        {"frame_length": 5, "mode": "stft", "padding": "same", "window": None},
        {"frame_length": 4, "fft_length": 16, "mode": "angle", "window": None}),
    "SeparableConv1D": kernels(1, filters=5) + kernels(1, filters=5, depth_multiplier=2),
    "SeparableConv2D": kernels(2, filters=5) + kernels(2, filters=5, depth_multiplier=2),
    "SimpleRNN": recurrent("SimpleRNN", units=3),
    "SimpleRNNCell": [
        ({"units": 3}, [(None, 4), (None, 3)]),
        ({"units": 3}, [(2, 4), [(2, 3)]]),
        ({"units": 3, "use_bias": False}, [(None, 5), [(None, 3)]]),
    ],
    "Softmax": same({}, {"axis": 1}),
    "SpatialDropout1D": same({"rate": 0.1}, shapes=WINDOWS[1]),
    "SpatialDropout2D": same({"rate": 0.1}, shapes=WINDOWS[2]),
    "SpatialDropout3D": same({"rate": 0.1}, shapes=WINDOWS[3]),
    "SpectralNormalization": [
        ({"layer": layer("Dense", units=3)}, [(None, 4)]),
        ({"layer": layer("Conv2D", filters=3, kernel_size=2)}, [(None, 9, 8, 3)]),
        ({"layer": layer("Embedding", input_dim=9, output_dim=4)}, [(None, 5)]),
    ],
    "StackedRNNCells": [
        ({"cells": [layer("LSTMCell", units=3), layer("LSTMCell", units=2)]},
         [(None, 4), [[(None, 3), (None, 3)], [(None, 2), (None, 2)]]]),
        ({"cells": [layer("GRUCell", units=3), layer("GRUCell", units=2)]},
         [(2, 4), [(2, 3), (2, 2)]]),
        ({"cells": [layer("SimpleRNNCell", units=3)]}, [(None, 4), [(None, 3)]]),
    ],
    "StringLookup": texts(LOOKUPS),
    "Subtract": MERGED,
    "TextVectorization": [
        ({}, [(None, 1)], {}, "string"),
        ({"output_sequence_length": 7}, [(None, 1)], {}, "string"),
        ({"output_mode": "multi_hot", "vocabulary": ["a", "b"]}, [(None, 1)], {}, "string"),
        ({"output_mode": "count", "max_tokens": 9, "pad_to_max_tokens": True,
          "vocabulary": ["a", "b"]}, [(2, 1)], {}, "string"),
    ],
    "TimeDistributed": [
        ({"layer": layer("Dense", units=3)}, [(None, 7, 4)]),
        ({"layer": layer("Conv2D", filters=3, kernel_size=2)}, [(None, 5, 9, 8, 3)]),
        ({"layer": layer("LSTM", units=3)}, [(2, 5, 7, 4)]),
        ({"layer": layer("Flatten")}, [(None, 5, 7, 4)]),
    ],
    "UnitNormalization": same({}, shapes=[(None, 5), (None, 7, 3), (2, 3, 4)]),
    "UpSampling1D": same({"size": 3}, {"size": 1}, shapes=WINDOWS[1]),
    "UpSampling2D": sizes(2, "size", 3, [2, 1]),
    "UpSampling3D": sizes(3, "size", 3, [2, 1, 3]),
    "ZeroPadding1D": sizes(1, "padding", 2, [1, 0]),
    "ZeroPadding2D": sizes(2, "padding", 1, [2, 1], [[1, 0], [0, 3]]),
    "ZeroPadding3D": sizes(3, "padding", 1, [2, 1, 0], [[1, 0], [0, 3], [1, 1]]),
}  # fmt: skip

WITHOUT_RULE = {
    "FlaxLayer": "runs a module of Flax",
    "JaxLayer": "runs a function of JAX",
    "Layer": "the class that others are made from",
    "TFSMLayer": "runs a SavedModel",
    "TorchModuleWrapper": "runs a module of PyTorch",
    "Wrapper": "the class that wrappers are made from",
}

SMALL = [(None, 5), (None, 7, 3), (2, None, 4, 6), ()]
SQUARE = [(None, 4, 4), (2, 3, 3), (5, 5)]
PAIRS = [
    ({}, [(None, 4), (None, 4)]),
    ({}, [(None, 4, 5), (5,)]),
    ({}, [(None, 1, 5), (2, 4, 1)]),
    ({}, [(None, 7, 3), 2.0]),
    ({}, [3, (2, None)]),
]
REDUCED = [
    (options, [shape])
    for options in ({}, {"axis": 1}, {"axis": -1})
    for shape in ((None, 5), (None, 7, 3), (2, None, 4, 6))
]
KEPT = [({**options, "keepdims": True}, args) for options, args in REDUCED]
AXES = [({"axis": [1, -1], "keepdims": keep}, [(None, 7, 3)]) for keep in (False, True)]
CONV_OPS = [
    ({}, [(None, 9, 8, 4), (3, 2, 4, 6)]),
    ({"strides": 2, "padding": "same"}, [(2, None, 8, 4), (3, 3, 4, 6)]),
    ({"dilation_rate": 2, "data_format": "channels_first"}, [(None, 4, 9, 8), (2, 2, 4, 6)]),
    ({"strides": 2}, [(None, 9, 4), (3, 4, 6)]),
]


def every(rows, names, dtype="float32"):
    """The same rows for each of those operations."""
    return {name: [(*[*row, {}][:3], dtype) for row in rows] for name in names.split()}


OPERATIONS = {
    **every(same(shapes=SMALL), """
        Abs Absolute Angle Arccos Arccosh Arcsin Arcsinh Arctan Arctanh Array Cbrt Ceil Celu Conj
        Conjugate ConvertToTensor Copy Corrcoef Cos Cosh Deg2rad Elu EmptyLike Erf Erfc Erfinv Exp
        Exp2 Expm1 Fabs Floor Gelu HardShrink HardSigmoid HardSilu HardTanh I0 Imag Isfinite Isinf
        Isnan Isneginf Isposinf Isreal LeakyRelu Log Log10 Log1p Log2 LogSigmoid NanToNum Negative
        OnesLike Rad2deg Real Reciprocal Relu Relu6 Round Rsqrt Selu Sigmoid Sign Signbit Silu Sin
        Sinc Sinh SoftShrink Softplus Softsign SparsePlus SparseSigmoid Sqrt Square Squareplus
        StopGradient Tan Tanh TanhShrink Trunc ZerosLike"""),
    **every(same(shapes=SMALL[:3]), """
        Flip Fliplr Flipud LogSoftmax Normalize Softmax Sparsemax Tril Triu"""),
    **every(same(shapes=SMALL[:3]), "BitwiseInvert BitwiseNot LogicalNot", "int32"),
    **every(same(shapes=SQUARE), "Cholesky CholeskyInverse Inv"),
    **every(PAIRS, """
        Add Arctan2 Divide DivideNoNan Equal FloorDivide Fmax Fmin Fmod Greater GreaterEqual Less
        LessEqual Logaddexp Logaddexp2 LogicalAnd LogicalOr LogicalXor Maximum Minimum Mod
        Multiply NotEqual Power Subtract TrueDivide"""),
    **every(PAIRS[:3], "Heaviside Hypot Isclose Nextafter"),
    **every(PAIRS[:3], "Gcd Lcm Ldexp", "int32"),
    **every([({}, [(None, 4), (None, 4)]), ({}, [(2, 3), (2, 3)]), ({}, [(None, 4, 5), (5,)])], """
        BitwiseAnd BitwiseLeftShift BitwiseOr BitwiseRightShift BitwiseXor LeftShift RightShift
        IsIn""", "int32"),
    **every([({}, [(None, 4), (7,)]), ({}, [(2, 3, 4), (1,)]), ({}, [(None,), (3,)])], "Digitize"),
    **every(REDUCED + KEPT + AXES, """
        Amax Amin All Any Max Mean Median Min Nanmax Nanmean Nanmedian Nanmin Nanprod Nanstd
        Nansum Nanvar Prod Ptp Std Sum Var Logsumexp"""),
    **every(REDUCED + KEPT, "Argmax Argmin Nanargmax Nanargmin"),
    **every(REDUCED, "Average CountNonzero"),
    **every(REDUCED, "Cumprod Cumsum Nancumprod Nancumsum Sort Argsort"),
    **every([({**row[0], "kth": 1}, row[1]) for row in REDUCED], "Argpartition"),
    **every([({}, [(None, 4), 0.5]), ({"axis": 1}, [(None, 4), [0.5, 0.1]]),
             ({"axis": -1, "keepdims": True}, [(2, 3, 4), [0.5, 0.1, 0.9]]),
             ({"axis": 1}, [(None, 4), (3,)])], "Percentile Quantile Nanpercentile Nanquantile"),
    "Moments": [({"axes": [0]}, [(None, 4)]), ({"axes": [1, 2]}, [(None, 4, 5, 6)]),
                ({"axes": [1], "keepdims": True}, [(None, 4)])],
    "Norm": [({}, [(None, 4)]), ({"axis": [1]}, [(None, 4, 5)]),
             ({"axis": [-1], "ord": 2, "keepdims": True}, [(2, 4)])],
    "AffineTransform": [({}, [(None, 9, 8, 3), (None, 8)]), ({}, [(9, 8, 3), (8,)]),
                        ({"data_format": "channels_first"}, [(2, 3, 9, 8), (2, 8)])],
    "ElasticTransform": same(shapes=IMAGES),
    "GaussianBlur": same(shapes=IMAGES),
    "PerspectiveTransform": [({}, [(None, 9, 8, 3), (None, 4, 2), (None, 4, 2)]),
                             ({}, [(9, 8, 3), (4, 2), (4, 2)]),
                             ({}, [(2, 9, 8, 1), (2, 4, 2), (2, 4, 2)])],
    "RGBToHSV": same(shapes=FIXED),
    "HSVToRGB": same(shapes=FIXED),
    "RGBToGrayscale": [({}, [(None, 9, 8, 3)]), ({}, [(9, 8, 3)]),
                       ({"data_format": "channels_first"}, [(2, 3, 9, 8)])],
    "Resize": [({"size": [4, 5]}, [(None, 9, 8, 3)]), ({"size": [4, 5]}, [(9, 8, 3)]),
               ({"size": [4, 5], "data_format": "channels_first"}, [(2, 3, 9, 8)])],
    "PadImages": [
        ({"top_padding": 1, "left_padding": 2, "bottom_padding": 3, "right_padding": 0},
         [(None, 9, 8, 3)]),
        ({"top_padding": 1, "left_padding": 2, "target_height": 20, "target_width": 30},
         [(None, 9, 8, 3)]),
        ({"top_padding": 1, "left_padding": 2, "target_height": 20, "target_width": 30,
          "data_format": "channels_first"}, [(3, 9, 8)])],
    "CropImages": [
        ({"top_cropping": 1, "left_cropping": 2, "bottom_cropping": 3, "right_cropping": 0},
         [(None, 9, 8, 3)]),
        ({"top_cropping": 1, "left_cropping": 2, "target_height": 2, "target_width": 3},
         [(None, 9, 8, 3)]),
        ({"top_cropping": 1, "left_cropping": 2, "target_height": 2, "target_width": 3,
          "data_format": "channels_first"}, [(3, 9, 8)])],
    "ExtractPatches": [
        ({"size": [3, 3]}, [(None, 9, 8, 3)]), ({"size": 2, "strides": 1}, [(9, 8, 3)]),
        ({"size": [3, 2], "padding": "same", "data_format": "channels_first"}, [(2, 3, 9, 8)]),
        ({"size": [2, 2, 2]}, [(None, 9, 8, 7, 3)])],
    "MapCoordinates": [({"order": 1}, [(9, 8), (2, 5)]), ({"order": 0}, [(9, 8, 3), (3, 5, 6)]),
                       ({"order": 1}, [(9,), (1, 4)])],
    "ScaleAndTranslate": [
        ({"spatial_dims": [1, 2], "method": "linear"}, [(None, 9, 8, 3), [2, 5, 6, 3], (2,), (2,)]),
        ({"spatial_dims": [0, 1], "method": "linear"}, [(9, 8, 3), [5, 6, 3], (2,), (2,)]),
        ({"spatial_dims": [0], "method": "cubic"}, [(9, 8), [5, 8], (1,), (1,)])],
    "SobelEdges": same(shapes=IMAGES),
    "SSIM": [({}, [(None, 19, 18, 3)] * 2), ({}, [(19, 18, 3)] * 2), ({}, [(2, 19, 18, 1)] * 2)],
    "Dot": [({}, [(None, 4), (4, 5)]), ({}, [(2, 3, 4), (4,)]), ({}, [(4,), (4,)]),
            ({}, [(2, 4), 2.0]), ({}, [(2, 3, 4), (5, 4, 6)])],
    "Matmul": [({}, [(None, 3, 4), (4, 5)]), ({}, [(None, 3, 4), (None, 4, 5)]),
               ({}, [(4,), (2, 4, 5)]), ({}, [(None, 3, 4), (4,)]), ({}, [(4,), (4,)]),
               ({}, [(None, 1, 3, 4), (2, 6, 4, None)])],
    "Tensordot": [({}, [(2, 3, 4), (3, 4, 5)]), ({"axes": 1}, [(None, 4), (4, 5)]),
                  ({"axes": [[1], [0]]}, [(None, 4, 6), (4, 5)]), ({"axes": 0}, [(2,), (3, 4)]),
                  ({"axes": [[1, 2], [1, 0]]}, [(None, 4, 6), (6, 4, 5)])],
    "Einsum": [({"subscripts": "abc,cd->abd"}, [(None, 3, 4), (4, 5)]),
               ({"subscripts": "...ij,...jk->...ik"}, [(None, 2, 3, 4), (2, 4, 5)]),
               ({"subscripts": "bqhd,bkhd->bhqk"}, [(None, 6, 2, 4), (None, 7, 2, 4)]),
               ({"subscripts": "ij,jk"}, [(3, 4), (4, 5)]), ({"subscripts": "ij->ji"}, [(2, None)]),
               ({"subscripts": "i...->..."}, [(2, 3, 4)]), ({"subscripts": "ij->"}, [(2, 3)]),
               ({"subscripts": "a,b,c->abc"}, [(2,), (3,), (4,)])],
    "Inner": [({}, [(2, 4), (3, 4)]), ({}, [(4,), (4,)]), ({}, [(None, 3, 4), (4,)])],
    "Outer": [({}, [(4,), (5,)]), ({}, [(2, 3), (4,)]), ({}, [(None, 2), (3,)])],
    "Kron": [({}, [(2, 3), (4, 5)]), ({}, [(None, 3), (4, 5)]), ({}, [(2,), (3,)])],
    "Cross": [({}, [(None, 3), (None, 3)]), ({}, [(5, 2), (5, 2)]), ({}, [(2, 5, 3), (5, 2)])],
    "CDist": [({}, [(None, 3, 4), (None, 5, 4)]), ({}, [(3, 4), (5, 4)]),
              ({}, [(2, 1, 3, 4), (6, 5, 4)])],
    **every([({}, [(4,), (4,)]), ({}, [(2, 3), (2, 3)]), ({}, [(None, 4), (None, 4)])],
            "Vdot AllClose"),
    "PSNR": [({"max_val": 1.0}, [shape, shape]) for shape in ((None, 9), (2, 3), (None, 9, 8, 3))],
    "Size": same(shapes=SMALL),
    "Conv": CONV_OPS,
    "DepthwiseConv": CONV_OPS,
    "SeparableConv": [
        (made, [x, kernel, (*[1] * (len(kernel) - 2), kernel[-1] * kernel[-2], 7)])
        for made, (x, kernel) in CONV_OPS],
    "ConvTranspose": [({}, [(None, 9, 8, 4), (3, 2, 6, 4)]),
                      ({"strides": 2, "padding": "same"}, [(2, None, 8, 4), (3, 3, 6, 4)]),
                      ({"strides": 3, "data_format": "channels_first", "output_padding": 1},
                       [(None, 4, 9, 8), (2, 2, 6, 4)])],
    "DotProductAttention": [({}, [(None, 6, 2, 4)] + [(None, 7, 2, 4)] * 2),
                            ({}, [(2, 6, 2, 4)] * 3), ({}, [(2, None, 1, 3)] * 3)],
    **{f"{kind}Pool": [({"data_format": "channels_last", **row[0]}, row[1]) for row in pools(2)]
       for kind in ("Average", "Max")},
    "BatchNorm": [({"axis": -1}, [(None, 4), (4,), (4,), (4,), (4,)]),
                  ({"axis": 1}, [(2, 3, 5), (3,), (3,), (3,), (3,)]),
                  ({"axis": -1}, [(None, 7, 4), (4,), (4,), None, None])],
    "LayerNorm": [({}, [shape, shape[-1:], shape[-1:]]) for shape in ANY],
    "RMSNorm": [({}, [shape, shape[-1:]]) for shape in ANY],
    "Cast": same({"dtype": "int32"}, shapes=SMALL),
    "SaturateCast": same({"dtype": "int32"}, shapes=SMALL),
    "Clip": same({"x_min": 0.0, "x_max": 1.0}, shapes=SMALL),
    "FullLike": [({}, [shape, 2.0]) for shape in SMALL],
    "Full": [({"shape": shape}, [()]) for shape in ([2, 3], [4], [])],
    "Roll": same({"shift": 1}, {"shift": 1, "axis": 1}, shapes=SMALL[:3]),
    "Threshold": same({"threshold": 0.1, "default_value": 0.0}, shapes=SMALL),
    "Polar": [({}, [shape, shape]) for shape in ANY],
    "BinaryCrossentropy": [({}, [shape, shape]) for shape in ANY],
    "CategoricalCrossentropy": [({}, [shape, shape]) for shape in ANY],
    "SparseCategoricalCrossentropy": [({}, [(None,), (None, 5)]), ({}, [(2, 1), (2, 5)]),
                                      ({}, [(None, 7), (None, 7, 3)])],
    "CTCLoss": [({}, [(n, 4), (n, 9, 5), (n,), (n,)]) for n in (2, 3, 4)],
    "CTCDecode": [({}, [(2, 9, 5), (2,)]), ({"strategy": "beam_search", "top_paths": 3},
                  [(None, 9, 5), (None,)]), ({}, [(None, None, 5), (None,)])],
    "Where": [({}, [(None, 4), (None, 4), 0.0]), ({}, [(None, 1), (4,), (2, 1)]),
              ({}, [(2, 3), 1.0, (3,)])],
    "Select": [({}, [[shape, shape], [shape, shape]]) for shape in ANY],
    "SearchSorted": [({}, [(7,), (None, 4)]), ({}, [(7,), (4,)]), ({}, [(1,), (2, 3, 4)])],
    "Solve": [({}, [(2, 3, 3), (2, 3, 4)]), ({}, [(3, 3), (3, 4)]), ({}, [(3, 3), (3, 1)])],
    "SolveTriangular": [({}, [(2, 3, 3), (2, 3, 4)]), ({}, [(3, 3), (3, 4)]),
                        ({}, [(3, 3), (3, 1)])],
    "InTopK": [({"k": 2}, [(n,), (n, 5)]) for n in (None, 2, 3)],
    "ScatterUpdate": [({}, [(None, 4), (3, 2), (3,)]), ({}, [(5,), (3, 1), (3,)]),
                      ({}, [(2, 3, 4), (1, 3), (1,)])],
    "SliceUpdate": [({}, [(4, 4), [1, 2], (2, 2)]), ({}, [(5,), [1], (2,)]),
                    ({}, [(None, 4), [0, 0], (1, 2)])],
    "Slice": [({"shape": [2, 3]}, [(4, 5), [1, 2]]), ({"shape": [-1, 3]}, [(4, 5), [1, 2]]),
              ({"shape": [-1, 2]}, [(None, 5), [0, 1]]), ({"shape": [-1, 2]}, [(4, 5), (2,)])],
    "Scatter": [({"shape": [7]}, [(3, 1), (3,)]), ({"shape": [4, 5]}, [(3, 2), (3,)]),
                ({"shape": [4, 5]}, [(3, 1), (3, 5)])],
    "Diff": [({}, [(None, 5)]), ({"n": 2, "axis": 1}, [(2, 5, 3)]), ({"axis": 0}, [(None, 5)])],
    "Trapezoid": [({}, [(None, 5)]), ({"axis": 1}, [(2, 5, 3)]), ({}, [(5,)])],
    "Reshape": [({"newshape": [3, 4]}, [(12,)]), ({"newshape": [-1, 4]}, [(None, 8)]),
                ({"newshape": [-1, 4]}, [(3, 8)]), ({"newshape": [2, 3, 4]}, [(None, 8)])],
    "Ravel": same(shapes=SMALL),
    "Transpose": [({}, [(None, 5, 6)]), ({"axes": [0, 2, 1]}, [(None, 5, 6)]),
                  ({"axes": [-1, 0, 1]}, [(2, 5, 6)])],
    "Swapaxes": [({"axis1": 1, "axis2": 2}, [(None, 5, 6)]), ({"axis1": 0, "axis2": -1},
                 [(None, 5, 6)]), ({"axis1": 1, "axis2": 1}, [(2, 5)])],
    "Rot90": [({}, [(4, 5)]), ({"k": 2}, [(4, 5, 6)]), ({"axes": [1, 2]}, [(None, 5, 6)])],
    "Moveaxis": [({"source": 0, "destination": -1}, [(2, 3, 4)]),
                 ({"source": [1, 2], "destination": [3, 1]}, [(None, 5, 6, 7)]),
                 ({"source": -1, "destination": 1}, [(None, 5, 6, 7)])],
    "ExpandDims": [({"axis": 1}, [(None, 5)]), ({"axis": -1}, [(None, 5)]),
                   ({"axis": [0, -1]}, [(3, 5)]), ({"axis": 0}, [()])],
    "Squeeze": [({}, [(3, 1, 5, 1)]), ({"axis": 1}, [(None, 1, 5)]),
                ({"axis": [1, -1]}, [(None, 1, 5, 1)])],
    "Take": [({}, [(None, 5), (3, 4)]), ({"axis": 1}, [(None, 5, 6), (3,)]),
             ({"axis": -1}, [(None, 5), [1, 2]]), ({"axis": 1}, [(None, 5, 6), 2])],
    "TakeAlongAxis": [({"axis": 1}, [(None, 5), (None, 2)]), ({}, [(3, 5), (7,)]),
                      ({"axis": -1}, [(2, 3, 5), (2, 1, 4)])],
    "Concatenate": [({"axis": 1}, [[(None, 4), (None, 6)]]), ({}, [[(2, 4), (3, 4)]]),
                    ({"axis": -1}, [[(None, 4, None), (None, 4, 3)]])],
    "Append": [({}, [(2, 3), (4,)]), ({"axis": 1}, [(None, 3), (None, 4)]),
               ({}, [(None, 3), (4,)])],
    "Vstack": [({}, [[(2, 4), (3, 4)]]), ({}, [[(None, 4), (3, 4)]]), ({}, [[(1, 2, 3)] * 3])],
    "Hstack": [({}, [[(2, 4), (2, 3)]]), ({}, [[(None, 4), (None, 4)]]), ({}, [[(1, 2, 3)] * 3])],
    "Dstack": [({}, [[(2, 4), (2, 4)]]), ({}, [[(4,), (4,)]]), ({}, [[(None, 2, 3)] * 3]),
               ({}, [[(), ()]])],
    "Stack": [({}, [[(2, 4), (2, 4)]]), ({"axis": 1}, [[(None, 4)] * 3]),
              ({"axis": -1}, [[(None, 4)] * 3])],
    "Unstack": [({"axis": 1}, [(None, 3)]), ({"num": 2}, [(2, 5)]), ({"axis": -1}, [(4, 5, 2)])],
    "Split": [({"indices_or_sections": 2, "axis": 1}, [(None, 4)]),
              ({"indices_or_sections": [1, 3], "axis": -1}, [(None, 7)]),
              ({"indices_or_sections": 3}, [(None, 7)])],
    "Vsplit": [({"indices_or_sections": 2}, [(4, 5)]), ({"indices_or_sections": [1]}, [(4, 5)]),
               ({"indices_or_sections": 2}, [(None, 5)])],
    "Hsplit": [({"indices_or_sections": 2}, [(None, 4)]), ({"indices_or_sections": [1]}, [(4,)]),
               ({"indices_or_sections": 2}, [(3, 4, 5)])],
    "Dsplit": [({"indices_or_sections": 2}, [(None, 3, 4)]),
               ({"indices_or_sections": [1, 2]}, [(2, 3, 4)]),
               ({"indices_or_sections": 3}, [(2, 3, None)])],
    "ArraySplit": [({"indices_or_sections": 3, "axis": 1}, [(None, 7)]),
                   ({"indices_or_sections": 2}, [(None, 7)]),
                   ({"indices_or_sections": 4, "axis": -1}, [(2, 3, 6)])],
    "Repeat": [({"repeats": 3}, [(2, 4)]), ({"repeats": 2, "axis": 1}, [(None, 4)]),
               ({"repeats": [1, 2, 3], "axis": -1}, [(None, 3)]), ({"repeats": 2}, [(None, 4)])],
    "Tile": [({"repeats": 2}, [(None, 4)]), ({"repeats": [2, 3]}, [(4,)]),
             ({"repeats": [1, 2, 3]}, [(2, 4, 5)])],
    "Pad": [({"pad_width": 1}, [(None, 4)]), ({"pad_width": [[0, 0], [1, 2]]}, [(None, 4)]),
            ({"pad_width": [[1, 2]]}, [(2, 4, 5)]), ({"pad_width": [1, 2]}, [(2, 4)])],
    "BroadcastTo": [({"shape": [2, 3]}, [(3,)]), ({"shape": [4, 3]}, [(1, 3)]),
                    ({"shape": [2, 3, 4]}, [(3, 1)])],
    "Diagonal": [({}, [(4, 5)]), ({"offset": 1, "axis1": 1, "axis2": 2}, [(None, 4, 5)]),
                 ({"offset": -1}, [(4, 5, 6)])],
    "Trace": [({}, [(4, 5)]), ({"axis1": 1, "axis2": 2}, [(None, 4, 5)]), ({}, [(4, 5, 6)])],
    "Diag": [({}, [(4,)]), ({"k": 1}, [(4, 5)]), ({"k": -1}, [(4,)]), ({"k": -2}, [(4, 5)])],
    "Diagflat": [({}, [(4,)]), ({"k": 1}, [(2, 3)]), ({"k": -1}, [(None,)])],
    "Rearrange": [({}, [(4, 5, 6), "a b c -> c a b"]), ({}, [(4, 5, 6), "a b c -> a (b c)"]),
                  ({}, [(4, 10, 6), "a (b1 b2) c -> a b1 (b2 c)"], {"b1": 2})],
    "GetItem": [({}, [(None, 5, 6), [slice(None), 2]]), ({}, [(3, 5), 1]),
                ({}, [(None, 9), [slice(None), slice(1, -1, 2)]]),
                ({}, [(None, 9, 4), [Ellipsis, slice(None, 2)]]),
                ({}, [(None, 9, 4), [slice(None), None, -1]]),
                ({}, [(None, 9, 4), [slice(0, 2), Ellipsis, None]])],
    "Unfold": [({"kernel_size": 3}, [(None, 3, 9, 8)]),
               ({"kernel_size": [2, 3], "stride": 2, "padding": 1}, [(2, 3, 9, 8)]),
               ({"kernel_size": 2, "dilation": 2}, [(2, 3, 9, 8)])],
    "Fold": [({"output_size": [4, 5], "kernel_size": 2}, [(2, 12, 12)]),
             ({"output_size": 5, "kernel_size": [1, 2]}, [(None, 12, 20)]),
             ({"output_size": [4, 5], "kernel_size": 2}, [(2, None, 12)])],
    "DepthToSpace": [({"block_size": 2}, [(None, 4, 5, 8)]),
                     ({"block_size": 2, "data_format": "channels_first"}, [(2, 8, None, 5)]),
                     ({"block_size": 3}, [(2, 4, 5, 9)])],
    "SpaceToDepth": [({"block_size": 2}, [(None, 4, 6, 8)]),
                     ({"block_size": 2, "data_format": "channels_first"}, [(2, 8, None, 6)]),
                     ({"block_size": 3}, [(2, 6, 9, 1)])],
    "Glu": [({}, [(None, 6)]), ({"axis": 1}, [(2, 4, 5)]), ({}, [(2, 4, 8)])],
    "OneHot": [({"num_classes": 4}, [(None, 6)]), ({"num_classes": 4, "axis": 1}, [(None, 6)]),
               ({"num_classes": 4}, [()])],
    "MultiHot": [({"num_classes": 4}, [(None, 6)]), ({"num_classes": 4}, [(6,)]),
                 ({"num_classes": 4}, [(2, 3, 6)])],
    **every([({"num_segments": 4}, [(None, 5), (None,)]), ({"num_segments": 2}, [(6,), (6,)]),
             ({}, [(6, 3), (6,)])],
            "SegmentMax SegmentMin SegmentProd SegmentReduction SegmentSum"),
    "TopK": same({"k": 2}, {"k": 1}),
    "ExtractSequences": [({"sequence_length": 4, "sequence_stride": n}, [shape])
                         for n, shape in ((2, (None, 11)), (3, (9,)), (1, (2, None)))],
    **every([({}, [[shape, shape]]) for shape in ((None, 8, 4), (2, 3, 6), (5, 7))],
            "FFT FFT2 IFFT2"),
    "RFFT": [({}, [(None, 9)]), ({"fft_length": 16}, [(2, 9)]), ({}, [(3, None)])],
    "IRFFT": [({}, [[(None, 9)] * 2]), ({"fft_length": 16}, [[(2, 9)] * 2]),
              ({}, [[(3, None)] * 2])],
    "STFT": [({"sequence_length": 8, "sequence_stride": 2, "fft_length": 8, "center": center},
              [shape]) for center, shape in ((True, (None, 32)), (False, (2, 33)),
                                             (True, (3, None)))],
    "ISTFT": [({"sequence_length": 8, "sequence_stride": 2, "fft_length": 8, **made},
               [[shape] * 2]) for made, shape in (
                   ({}, (None, 9, 5)), ({"center": False}, (2, 7, 5)), ({"length": 20}, (2, 7, 5)),
                   ({}, (2, None, 5)))],
    "ViewAsComplex": same(shapes=[(None, 2), (3, 4, 2), (2,)]),
    "ViewAsReal": same(shapes=SMALL),
    **every(same(shapes=SQUARE), "Det Logdet Slogdet Eig Eigh MatrixRank"),
    "LuFactor": same(shapes=[(4, 4), (2, 3, 5), (None, 5, 3)]),
    "Qr": same({}, {"mode": "complete"}, shapes=[(4, 4), (2, 3, 5), (None, 5, 3)]),
    "SVD": same({}, {"full_matrices": False}, {"compute_uv": False},
                shapes=[(4, 4), (2, 3, 5), (None, 5, 3)]),
    "Lstsq": [({}, [(5, 3), (5,)]), ({}, [(5, 3), (5, 2)]), ({}, [(5, 5), (5, 2)])],
    "Pinv": same(shapes=[(4, 4), (2, 3, 5), (None, 5, 3)]),
    **every([({}, [(), ()]), ({"num": 5}, [(3,), (3,)]), ({"num": 5, "axis": -1}, [(2, 3), (3,)])],
            "Linspace Geomspace Logspace"),
    "Meshgrid": [({}, [(3,), (4,)]), ({"indexing": "ij"}, [(3,), (4,), (5,)]),
                 ({}, [(None,), (4,), (5,)])],
    "Ndim": same(shapes=ANY),
    "Nonzero": same(shapes=ANY),
    "Bincount": [({}, [shape], {}, "int32") for shape in ((None,), (None, 4), (2, 3))],
    "Histogram": same({}, {"bins": 4}, shapes=[(None,), (3, 4)]),
    "UnravelIndex": [({"shape": [3, 4]}, [(None,)]), ({"shape": [2, 3, 4]}, [(5, 6)]),
                     ({"shape": [7]}, [()])],
    "Unique": [({}, [(None, 4)]), ({"axis": 1, "return_inverse": True}, [(2, 4)]),
               ({"return_index": True, "return_counts": True, "size": 3}, [(4,)]),
               ({"return_inverse": True}, [(2, 4)])],
    "Vander": [({}, [(4,)]), ({"N": 3}, [(None,)]), ({"N": 2, "increasing": True}, [(5,)])],
    "Correlate": [({"mode": mode}, [(7,), (3,)]) for mode in ("valid", "same", "full")],
}  # fmt: skip

OPERATIONS_WITHOUT_RULE = {
    **dict.fromkeys(("AdaptiveAveragePool", "AdaptiveMaxPool"), "Keras builds none from a config"),
    "Arange": "takes numbers only",
    **dict.fromkeys(
        ("AssociativeScan", "Cond", "ForiLoop", "JVP", "Map", "Scan", "Switch", "VectorizedMap",
         "WhileLoop"), "calls a function, which no config holds"),
    "Function": "a part of a model, which no config holds",
    "Operation": "the class that others are made from",
    "View": "depends on the dtype",
}  # fmt: skip
