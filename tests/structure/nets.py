"""Small models in which channels hang together in every way that there is a rule for."""

import numpy as np

IMAGE, SERIES = (8, 8, 3), (6, 5)


def nets(keras):
    """Functions that build a net, by name."""
    of, ops = keras.layers, keras.ops

    def chain(shape, *layers):
        return keras.Sequential([keras.Input(shape), *layers])

    def flattened():
        return chain(
            IMAGE, of.Conv2D(8, 3, activation="relu", name="a"), of.BatchNormalization(),
            of.MaxPooling2D(), of.Flatten(), of.Dense(9, name="b"), of.PReLU(), of.Dense(3),
        )  # fmt: skip

    def channels_first():
        return chain(
            (8, 8, 3), of.Conv2D(8, 3, name="a"), of.Permute((3, 1, 2)),
            of.BatchNormalization(axis=1), of.Flatten(data_format="channels_first"),
            of.Dense(3),
        )  # fmt: skip

    def residual():
        x = given = keras.Input(IMAGE)
        x = of.Conv2D(8, 3, padding="same", name="a")(x)
        for number in range(2):
            y = of.Conv2D(8, 3, padding="same", activation="relu", name=f"b{number}")(x)
            x = of.Add()([x, of.Conv2D(8, 1, name=f"c{number}")(y)])
        return keras.Model(given, of.Dense(2)(of.GlobalAveragePooling2D()(x)))

    def dense_blocks():
        x = given = keras.Input(IMAGE)
        x = of.Conv2D(6, 3, padding="same", name="a")(x)
        for number in range(3):
            y = of.ReLU()(of.BatchNormalization()(x))
            x = of.Concatenate()([x, of.Conv2D(4, 3, padding="same", name=f"b{number}")(y)])
        return keras.Model(given, of.Dense(2)(of.GlobalMaxPooling2D()(x)))

    def depthwise():
        return chain(
            IMAGE, of.Conv2D(6, 1, name="a"),
            of.SeparableConv2D(10, 3, depth_multiplier=2, name="b"),
            of.DepthwiseConv2D(3, depth_multiplier=2), of.BatchNormalization(),
            of.Conv2DTranspose(7, 3, name="c"), of.PReLU(shared_axes=[1, 2]), of.UpSampling2D(),
            of.Conv2D(2, 1),
        )  # fmt: skip

    def grouped():
        return chain(
            IMAGE, of.Conv2D(16, 1, name="a"), of.Conv2D(24, 3, groups=4, name="b"),
            of.GroupNormalization(4, name="norm"), of.Conv2D(48, 3, groups=24, name="c"),
            of.GroupNormalization(48), of.Conv2D(2, 1),
        )  # fmt: skip

    def squeezed():
        x = given = keras.Input(IMAGE)
        x = of.Activation("swish")(of.BatchNormalization()(of.Conv2D(12, 3, name="a")(x)))
        s = of.Reshape((1, 1, 12))(of.GlobalAveragePooling2D()(x))
        s = of.Conv2D(4, 1, activation="swish", name="b")(s)
        s = of.Conv2D(12, 1, activation="sigmoid", name="c")(s)
        return keras.Model(given, of.Conv2D(2, 1)(of.Multiply()([x, s])))

    def recurrent():
        return chain(
            SERIES, of.LSTM(8, return_sequences=True), of.GRU(7, return_sequences=True),
            of.Bidirectional(of.LSTM(6, return_sequences=True)),
            of.GRU(6, reset_after=False, return_sequences=True), of.SimpleRNN(9), of.Dense(3),
        )  # fmt: skip

    def states():
        given, other = keras.Input(SERIES), keras.Input((4, 3))
        _, *state = of.LSTM(6, return_state=True, name="encoder")(given)
        x = of.LSTM(6, return_sequences=True, name="decoder")(other, initial_state=state)
        return keras.Model([given, other], of.Dense(2)(x))

    def conv_lstm():
        return chain(
            (3, 6, 6, 2), of.ConvLSTM2D(5, 2, return_sequences=True, name="a"),
            of.ConvLSTM2D(4, 2, name="b"), of.Conv2D(2, 1),
        )  # fmt: skip

    def attention():
        x = given = keras.Input((6, 10))
        x = of.Dense(16, name="embedded")(x)
        x = of.LayerNormalization(name="norm")(of.Add()([x, of.MultiHeadAttention(4, 4)(x, x)]))
        x = of.Add()([x, of.Dense(16, name="down")(of.Dense(32, "gelu", name="up")(x))])
        return keras.Model(given, of.Dense(3)(of.GlobalAveragePooling1D()(x)))

    def grouped_attention():
        x = given = keras.Input((6, 10))
        x = of.Dense(16, name="embedded")(x)
        x = of.GroupQueryAttention(4, 4, 2)(x, x)
        return keras.Model(given, of.Dense(3)(x))

    def products():
        x = given = keras.Input((6, 10))
        x = of.Attention()([of.Dense(8, name="q")(x), of.Dense(9, name="v")(x),
                            of.Dense(8, name="k")(x)])  # fmt: skip
        return keras.Model(given, of.Dense(3)(x))

    def nested():
        inner = keras.Input(IMAGE)
        x = of.ReLU()(of.BatchNormalization()(of.Conv2D(6, 3, name="a")(inner)))
        encoder = keras.Model(inner, of.Conv2D(8, 3, name="b")(x), name="encoder")
        head = keras.Sequential(
            [keras.Input((8,)), of.Dense(10, "tanh", name="c"), of.Dense(3)], name="head"
        )
        given = keras.Input(IMAGE)
        return keras.Model(given, head(of.GlobalAveragePooling2D()(encoder(given))))

    def shared():
        one, two = keras.Input(IMAGE, name="one"), keras.Input(IMAGE, name="two")
        first, second = of.Conv2D(6, 3, name="a"), of.Conv2D(8, 3, name="b")
        x = of.Concatenate()([second(first(one)), second(first(two))])
        x = of.GlobalMaxPooling2D()(x)
        return keras.Model([one, two], {"p": of.Dense(3, name="p")(x), "q": of.Dense(2)(x)})

    def shared_model():
        inner = keras.Input((5,))
        tower = keras.Model(inner, of.Dense(6)(of.Dense(8, "relu", name="a")(inner)), name="tower")
        one, two = keras.Input((5,), name="one"), keras.Input((5,), name="two")
        x = of.Subtract()([tower(one), tower(two)])
        return keras.Model({"one": one, "two": two}, of.Dense(2)(x))

    def operations():
        x = given = keras.Input((8, 8, 4))
        y = ops.relu(of.Conv2D(6, 3, name="a")(x) + of.Conv2D(6, 3, name="b")(x) * 2.0)
        y = ops.reshape(y, (-1, 36, 6))
        y = of.Dense(12, name="c")(ops.concatenate([y, y], axis=-1))
        left, right = ops.split(y, 2, axis=-1)
        y = ops.transpose(left * ops.sigmoid(right), (0, 2, 1))[:, :, :9]
        y = ops.squeeze(ops.expand_dims(ops.mean(y, axis=2), 1), 1)
        return keras.Model(given, of.Dense(3)(y))

    def stacked():
        x = given = keras.Input((8, 8, 4))
        x = of.Conv2D(6, 3, name="a")(x)
        x = ops.max(ops.stack([x, ops.tanh(x)], axis=1), axis=1)
        x = ops.pad(x, ((0, 0), (1, 1), (0, 2), (0, 0)))
        return keras.Model(given, of.Conv2D(2, 1)(x))

    def words():
        x = given = keras.Input((6,), dtype="int32")
        x = of.Conv1D(6, 3, padding="causal", name="b")(of.Embedding(20, 8, name="a")(x))
        x = of.TimeDistributed(of.Dense(5, "relu"), name="c")(x)
        return keras.Model(given, of.Dense(2)(of.GlobalMaxPooling1D()(x)))

    def masked():
        x = given = keras.Input((6,), dtype="int32")
        x = of.Embedding(20, 8, mask_zero=True, name="a")(x)
        return keras.Model(given, of.Dense(2)(of.LSTM(5, name="b")(x)))

    def decoder():
        return chain(
            (12,), of.Dense(4 * 4 * 8, name="a"), of.Reshape((4, 4, 8)),
            of.Conv2DTranspose(6, 4, strides=2, name="b"), of.LeakyReLU(), of.Conv2D(1, 1),
        )  # fmt: skip

    def einsum():
        return chain(
            SERIES, of.EinsumDense("abc,cd->abd", (None, 8), bias_axes="d", name="a"),
            of.RMSNormalization(), of.EinsumDense("...c,cd->...d", (7,), name="b"),
            of.Dense(2),
        )  # fmt: skip

    def spectral():
        return chain(
            IMAGE, of.SpectralNormalization(of.Conv2D(8, 3), name="a"),
            of.SpectralNormalization(of.Dense(7), name="b"), of.Conv2D(2, 1),
        )  # fmt: skip

    def volumes():
        return chain(
            (5, 5, 5, 2), of.Conv3D(6, 2, name="a"), of.AveragePooling3D(2), of.Cropping3D(0),
            of.ZeroPadding3D(1), of.Conv3DTranspose(5, 2, name="b"), of.GlobalMaxPooling3D(),
            of.RepeatVector(3), of.Conv1D(4, 2), of.Conv1DTranspose(4, 2),
            of.SeparableConv1D(5, 2), of.DepthwiseConv1D(2), of.Dense(2),
        )  # fmt: skip

    def arrays():
        start = keras.initializers.Constant(np.arange(8.0))
        return chain((5,), of.Dense(8, bias_initializer=start, name="a"), of.Dense(2))

    found = [
        flattened, channels_first, residual, dense_blocks, depthwise, grouped, squeezed, recurrent,
        states, conv_lstm, attention, grouped_attention, products, nested, shared, shared_model,
        operations, stacked, words, masked, decoder, einsum, spectral, volumes, arrays,
    ]  # fmt: skip
    return {build.__name__: build for build in found}


NETS = list(nets(__import__("types").SimpleNamespace(layers=None, ops=None)))


class RandomNet:
    """Draws a net of images of 8x8 with `odd` operations in it or without."""

    def __init__(self, keras, seed, odd):
        self.keras, self.odd = keras, odd
        self.rng = np.random.default_rng(seed)
        self.twice = None

    def draw(self, values):
        return values[int(self.rng.integers(len(values)))]

    def size(self, low=4, high=9):
        return int(self.rng.integers(low, high))

    def model(self):
        of = self.keras.layers
        given = self.keras.Input((8, 8, self.size(2, 5)))
        pool = [of.Conv2D(self.size(), 3, padding="same")(given)]
        for _ in range(self.size(3, 9)):
            x = self.plain(self.draw(pool), pool)
            if self.odd and self.rng.random() < 0.5:
                x = self.strange(x)
            if len(x.shape) == 4 and tuple(x.shape[1:3]) == (8, 8):
                pool.append(x)
        end = of.Concatenate()(pool[-2:]) if len(pool) > 1 and self.rng.random() < 0.4 else pool[-1]
        pooled = self.draw([of.Flatten, of.GlobalAveragePooling2D, of.GlobalMaxPooling2D])()(end)
        return self.keras.Model(given, of.Dense(3)(pooled))

    def plain(self, x, pool):
        of, count = self.keras.layers, x.shape[-1]
        activation = self.draw(["linear", "relu", "sigmoid", "tanh"])
        same = {"padding": "same", "activation": activation}
        multiplier = self.size(1, 3)
        groups = self.draw([n for n in range(1, count + 1) if count % n == 0])
        return self.draw([
            lambda: of.Conv2D(self.size(), self.draw([1, 3]), **same)(x),
            lambda: of.Conv2D(self.size(), 3, **same)(x),
            lambda: of.BatchNormalization(scale=bool(multiplier - 1))(x),
            lambda: of.DepthwiseConv2D(3, depth_multiplier=multiplier, **same)(x),
            lambda: of.SeparableConv2D(self.size(), 3, depth_multiplier=multiplier, **same)(x),
            lambda: of.Conv2DTranspose(self.size(), 3, **same)(x),
            lambda: of.Conv2D(2 * count, 3, groups=groups, **same)(x),
            lambda: of.Activation(activation)(x),
            lambda: self.merged(x, pool),
            lambda: of.Concatenate()([x, self.draw(pool)]),
            lambda: self.excited(x),
            lambda: self.called_twice(x),
            lambda: self.inside(x),
            lambda: self.halves(x),
        ])()  # fmt: skip

    def merged(self, x, pool):
        of = self.keras.layers
        alike = [p for p in pool if p.shape[-1] == x.shape[-1] and p is not x]
        other = self.draw(alike) if alike else of.Conv2D(x.shape[-1], 1)(x)
        return self.draw([of.Add, of.Multiply, of.Maximum, of.Subtract])()([x, other])

    def excited(self, x):
        of = self.keras.layers
        s = of.Conv2D(3, 1, activation="relu")(of.GlobalAveragePooling2D(keepdims=True)(x))
        return of.Multiply()([x, of.Conv2D(x.shape[-1], 1, activation="sigmoid")(s)])

    def called_twice(self, x):
        if self.twice is None or self.twice.filters != x.shape[-1]:
            self.twice = self.keras.layers.Conv2D(x.shape[-1], 3, padding="same")
        return self.twice(self.twice(x))

    def inside(self, x):
        of, given = self.keras.layers, self.keras.Input(x.shape[1:])
        y = of.Conv2D(5, 3, padding="same", activation="relu")(given)
        return self.keras.Model(given, of.Conv2D(x.shape[-1], 1)(y))(x)

    def halves(self, x):
        if x.shape[-1] % 2:
            return self.keras.ops.relu(x + 0.5)
        left, right = self.keras.ops.split(x, 2, axis=-1)
        return self.keras.layers.Concatenate()([right, left])

    def strange(self, x):
        of, ops, count = self.keras.layers, self.keras.ops, x.shape[-1]
        is_even = count % 2 == 0
        return self.draw([
            lambda: ops.cumsum(x, axis=-1),
            lambda: ops.roll(x, 1, axis=-1),
            lambda: ops.flip(x, axis=-1),
            lambda: self.shuffled(x) if is_even else x,
            lambda: of.Conv2D(count, 1)(of.Reshape((8, 16, count // 2))(x))[:, :, :8]
            if is_even else x,
            lambda: of.Permute((1, 3, 2))(of.Conv2D(8, 1)(of.Permute((1, 3, 2))(x))),
            lambda: x * ops.convert_to_tensor(np.arange(count).astype("float32")),
            lambda: of.Multiply()([x, of.Conv2D(1, 1, activation="sigmoid")(x)]),
            lambda: ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, 1))),
            lambda: ops.max(ops.stack([x, x], axis=-1), axis=-1),
            lambda: of.Multiply()([x, of.Reshape((1, 1, count))(of.Dense(count)(of.Flatten()(x)))]),
            lambda: of.Dense(6, activation="relu")(x),
            lambda: x[..., : count - 1],
            lambda: x[:, :, :, 0:1] * x,
            lambda: ops.softmax(x),
            lambda: ops.mean(x, axis=-1, keepdims=True) + x,
        ])()  # fmt: skip

    def shuffled(self, x):
        ops, count = self.keras.ops, x.shape[-1]
        parts = ops.transpose(ops.reshape(x, (-1, 8, 8, 2, count // 2)), (0, 1, 2, 4, 3))
        return ops.reshape(parts, (-1, 8, 8, count))
