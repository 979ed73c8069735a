"""Random graphs and random structural steps, with Keras doing the same by hand."""

import random
from dataclasses import dataclass

from hypothesis import strategies as st

import surgery
from tests.keras import structures

WIDTH = 4
KINDS = ["dense", "relu", "dropout", "norm", "add", "concatenate", "plus", "times", "split",
         "shared", "nested", "sequential", "attention"]  # fmt: skip


class Hypothetical:
    """Draws by Hypothesis, which makes what fails as small as it can."""

    def __init__(self, data):
        self.data = data

    def choice(self, values):
        return self.data.draw(st.sampled_from(values))

    def integer(self, first, last):
        return self.data.draw(st.integers(first, last))

    def shuffled(self, values):
        return self.data.draw(st.permutations(values))


class Seeded:
    """Draws from a seed, which is faster."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def choice(self, values):
        return self.random.choice(values)

    def integer(self, first, last):
        return self.random.randint(first, last)

    def shuffled(self, values):
        return self.random.sample(values, len(values))


class Builder:
    """Draws a functional model whose tensors have WIDTH numbers, or half of that."""

    def __init__(self, keras, draws, prefix="", depth=0):
        self.keras, self.draws, self.prefix, self.depth = keras, draws, prefix, depth
        self.layers, self.count = [], 0

    def name(self, kind):
        self.count += 1
        return f"{self.prefix}{kind}{self.count}"

    def draw(self, values):
        return self.draws.choice(values)

    def model(self, inputs=2, steps=7, outputs=3):
        keras = self.keras
        count = self.draws.integer(1, inputs)
        given = [keras.Input((WIDTH,), name=f"{self.prefix}in_{n}") for n in range(count)]
        tensors = list(given)
        for _ in range(self.draws.integer(2, steps)):
            tensors += self.step(tensors)
        made = tensors[count:]
        count = self.draws.integer(1, min(outputs, len(made)))
        ends = [made[-1], *self.draws.shuffled(made[:-1])][:count]
        form = self.draw(["one", "list", "dict"])
        if form == "dict":
            ends = {f"{self.prefix}z{9 - n}": end for n, end in enumerate(ends)}
        elif form == "one":
            ends = ends[0]
        return keras.Model(given, ends, name=f"{self.prefix}net")

    def step(self, tensors):
        keras, layers = self.keras, self.keras.layers
        kind = self.draw(KINDS)
        if kind in ("nested", "sequential") and self.depth > 1:
            kind = "dense"
        one, two = self.draw(tensors), self.draw(tensors)
        name = self.name(kind)
        if kind == "add":
            return [layers.Add(name=name)([one, two])]
        if kind == "concatenate":
            return [layers.Dense(WIDTH, name=f"{name}_d")(
                layers.Concatenate(name=name)([one, two]))]  # fmt: skip
        if kind == "plus":
            return [one + two]
        if kind == "times":
            return [one * 0.5]
        if kind == "split":
            left, right = keras.ops.split(one, 2, axis=-1)
            return [layers.Concatenate(name=name)([right, self.draw([left, right])])]
        if kind == "attention":
            pair = layers.Reshape((2, 2), name=f"{name}_r")
            made = layers.MultiHeadAttention(1, 2, name=name)(pair(one), value=pair(two))
            return [layers.Flatten(name=f"{name}_f")(made)]
        if kind == "shared" and self.layers:
            return self.called(self.draw(self.layers), tensors)
        layer = self.layer(kind, name)
        self.layers.append(layer)
        return self.called(layer, tensors)

    def called(self, layer, tensors):
        count = len(layer.inputs) if isinstance(layer, self.keras.Model) else 1
        given = [self.draw(tensors) for _ in range(count)]
        made = layer(given if count > 1 else given[0])
        return self.keras.tree.flatten(made)

    def layer(self, kind, name):
        layers = self.keras.layers
        if kind == "sequential":
            inner = [layers.Dense(WIDTH, name=f"{name}_a"), layers.ReLU(name=f"{name}_b")]
            return self.keras.Sequential([self.keras.Input((WIDTH,)), *inner], name=name)
        if kind == "nested":
            return Builder(self.keras, self.draws, f"{name}_", self.depth + 1).model(2, 4, 2)
        make = {
            "relu": lambda: layers.ReLU(name=name),
            "dropout": lambda: layers.Dropout(0.5, name=name),
            "norm": lambda: layers.BatchNormalization(name=name),
        }
        activation = self.draw(["linear", "relu", "tanh"])
        return make.get(kind, lambda: layers.Dense(WIDTH, activation=activation, name=name))()


@dataclass
class Place:
    """A layer or operation where it is called, with its calls inside the model that has it."""

    address: str
    layer: object
    parent: object
    nodes: list


def functional(keras, model):
    """The graph of a model; a Sequential one has a functional one inside."""
    return model._functional if isinstance(model, keras.Sequential) else model


def places(keras, model, above=""):
    """All layers and operations of a model and of those inside it, where they are called."""
    graph = functional(keras, model)
    used = {node for nodes in graph._nodes_by_depth.values() for node in nodes}
    for layer in graph.operations:
        nodes = [node for node in layer._inbound_nodes if node in used]
        yield Place(f"{above}{layer.name}", layer, model, nodes)
        if isinstance(layer, keras.Model):
            yield from places(keras, layer, f"{above}{layer.name}/")


def by_hand(keras, model, address, change):
    """A model in which the calls of the layer at an address are changed, as Keras clones it."""
    first, _, rest = address.partition("/")
    if not rest and first in [t.name for t in functional(keras, model).inputs]:
        return behind_input(keras, functional(keras, model), first, change)
    if not rest:
        return structures.edited(
            keras,
            functional(keras, model),
            lambda layer, args, kwargs: change(args, kwargs) if layer.name == first else None,
        )
    inner = by_hand(keras, model.get_layer(first), rest, change)
    return structures.inside(keras, functional(keras, model), first, inner)


def behind_input(keras, model, name, change):
    """A model in which all that read an input read what `change` makes of it."""
    given = keras.tree.map_structure(
        lambda t: keras.Input(batch_shape=t.shape, dtype=t.dtype, name=t.name), model.input
    )
    changed = keras.tree.map_structure(lambda t: change([t], {}) if t.name == name else t, given)
    return keras.Model(given, model(changed), name=model.name)


class Steps:
    """Draws a step for a model, has surgery do it, and Keras by hand."""

    def __init__(self, keras, draws):
        self.keras, self.draws, self.number = keras, draws, 0

    def draw(self, values):
        return self.draws.choice(values)

    def step(self, now, ours):
        """(name, what surgery makes, a function of what Keras loads of it: the reference)."""
        self.number += 1
        return self.draw(
            [self.extract, self.remove, self.insert, self.replace, self.flatten, self.prefix,
             self.append, self.replace_head, self.set_config]
        )(now, ours, list(places(self.keras, now)))  # fmt: skip

    def extract(self, now, ours, there):
        chosen = [self.output(self.draw(there)) for _ in range(self.draws.integer(1, 2))]
        found = [at for at, _ in chosen]
        at = found[0] if len(found) == 1 else dict(zip("ab", found, strict=True))
        at = self.draw([at, found])

        def hand(_new):
            tensors = [self.tensor(now, at["layer"], node, at["tensor"]) for at, node in chosen]
            return structures.cut(self.keras, functional(self.keras, now), *tensors)

        return "extract", lambda: surgery.extract(ours, at=at), hand

    def output(self, place):
        """An output of a layer: as extract takes it, and the node of its call."""
        number = self.draws.integer(0, len(place.nodes) - 1) if place.nodes else 0
        tensor = 0
        if place.nodes and len(place.nodes[number].outputs) > 1:
            tensor = self.draws.integer(0, len(place.nodes[number].outputs) - 1)
        return {"layer": place.address, "call": number, "tensor": tensor}, number

    def tensor(self, model, address, number, tensor):
        """The symbolic tensor of a layer's call; inside a nested model, that of its calls."""
        first, _, rest = address.partition("/")
        graph = functional(self.keras, model)
        place = next(each for each in places(self.keras, graph) if each.address == first)
        if not rest:
            return self.keras.tree.flatten(place.nodes[number].outputs)[tensor]
        inner = functional(self.keras, place.layer)
        last = next(each for each in places(self.keras, inner) if each.address == rest)
        count = len(last.nodes)
        node = place.nodes[number // count]
        probe = self.keras.Model(
            inner.input,
            self.tensor(inner, rest, number % count, tensor),
            name=f"probe_{address.replace('/', '_')}_{number}_{tensor}",
        )
        return probe(*node.arguments.args)

    def remove(self, now, ours, there):
        place = self.draw(there)
        keep = self.draw([None, 0, 1])

        def change(args, kwargs):
            given = self.keras.tree.flatten((args, kwargs))
            tensors = [each for each in given if self.keras.backend.is_keras_tensor(each)]
            return tensors[keep or 0]

        return (
            "remove",
            lambda: surgery.remove(ours, place.address, keep_input=keep),
            lambda _: by_hand(self.keras, now, place.address, change),
        )

    def insert(self, now, ours, there):
        place = self.draw(there)
        name, where = f"new_{self.number}", self.draw(["after", "before"])
        layer = self.draw([{"Dense": {"units": WIDTH, "name": name, "activation": "tanh"}},
                           {"Dropout": {"rate": 0.5, "name": name}}])  # fmt: skip
        address = f"{place.address.rpartition('/')[0]}/{name}".lstrip("/")

        def hand(new):
            added = self.layer(new, address)

            def change(args, kwargs):
                if isinstance(place.layer, self.keras.layers.InputLayer):
                    return added(args[0])
                if where == "after":
                    made = place.layer(*args, **kwargs)
                    if isinstance(made, list):  # of which nothing reads but the first
                        return [added(made[0]), *made[1:]]
                    return added(made)
                return place.layer(added(args[0]), *args[1:], **kwargs)

            return by_hand(self.keras, now, place.address, change)

        return "insert", lambda: surgery.insert(ours, **{where: place.address}, layer=layer), hand

    def layer(self, model, address):
        """A new layer of a loaded model, made again with the same weights."""
        for name in address.split("/"):
            model = model.get_layer(name)
        made = type(model).from_config(model.get_config())
        if model.weights:
            made.build(model.input.shape)
            made.set_weights(model.get_weights())
        return made

    def replace(self, now, ours, there):
        place = self.draw(there)
        new = self.draw([{"Activation": {"activation": "tanh"}}, {"Dense": {"units": WIDTH}}])

        def hand(model):
            added = self.layer(model, place.address)
            return by_hand(self.keras, now, place.address, lambda args, _: added(args[0]))

        return "replace", lambda: surgery.replace(ours, place.address, layer=new), hand

    def flatten(self, now, ours, there):
        nested = [each.address for each in there if isinstance(each.layer, self.keras.Model)]
        address = self.draw([*nested, "**"])
        return "flatten", lambda: surgery.flatten(ours, address), lambda _: now

    def prefix(self, now, ours, there):
        return "prefix", lambda: surgery.prefix(ours, with_="p_"), lambda _: now

    def append(self, now, ours, there):
        graph = functional(self.keras, now)
        number = self.draws.integer(0, len(graph.outputs) - 1)
        ends = graph.output
        named = isinstance(ends, dict)
        key = sorted(ends)[number] if named else None
        tensor = graph.outputs[number]
        to = key if named else tensor._keras_history.operation.name
        name = f"end_{self.number}"
        layer = {"Dense": {"units": 3, "name": name}}

        def hand(new):
            made = self.layer(new, name)(tensor)
            if named:
                outputs = {**ends, key: made}
            elif isinstance(ends, list):
                outputs = [made if each is tensor else each for each in ends]
            else:
                outputs = made
            return self.keras.Model(graph.input, outputs)

        return "append", lambda: surgery.append(ours, layers=[layer], to=to), hand

    def replace_head(self, now, ours, there):
        at, node = self.output(self.draw(there))
        name = f"head_{self.number}"
        layers = [{"Dense": {"units": 5, "activation": "relu"}}]

        def make():
            return surgery.replace_head(
                ours, after=at, layers=layers, dropout=0.1, classes=3, outputs_="drop", name_=name
            )

        def hand(new):
            made = self.tensor(now, at["layer"], node, at["tensor"])
            if len(made.shape) > 2:
                made = self.layer(new, f"{name}_pool")(made)
            for each in (f"{name}_1", f"{name}_dropout", name):
                made = self.layer(new, each)(made)
            outputs = {next(iter(new.output)): made} if isinstance(new.output, dict) else made
            return self.keras.Model(functional(self.keras, now).input, outputs)

        return "replace_head", make, hand

    def set_config(self, now, ours, there):
        dense = [each.address for each in there if type(each.layer).__name__ == "Dense"]
        if not dense:
            return self.prefix(now, ours, there)
        address = self.draw(dense)

        def hand(new):
            added = self.layer(new, address)
            return by_hand(self.keras, now, address, lambda args, _: added(args[0]))

        return (
            "set_config",
            lambda: surgery.set_config(ours, address, keys={"activation": "linear"}),
            hand,
        )
