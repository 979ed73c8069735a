"""TensorFlow's object graph: the kind and the address of each variable of a checkpoint.

A checkpoint's key is the shortest path to a variable in the graph of saved Python objects, so a
compiled model's weights may have keys below its optimizer. Here all paths are considered.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Sequence, Set
from functools import lru_cache
from typing import Any, NamedTuple

from surgery.formats._tensorflow.messages import parse
from surgery.weights.weight import State

Path = tuple[str, ...]

VALUE = "VARIABLE_VALUE"

_VARIABLE_LISTS = {
    "variables", "trainable_variables", "non_trainable_variables", "_all_variables",
    "_trainable_variables", "_non_trainable_variables",
}  # fmt: skip
_WRAPPERS = {"_functional", "_tracked"}
_LISTS = {"_operations", "_layers", "_self_tracked_trackables"}
_UNNAMED = _WRAPPERS | _LISTS
_WITH_PLACES = _UNNAMED | _VARIABLE_LISTS
_POSITION = re.compile(r"layer(_with_weights)?-\d+|\d+")
_OF_NO_LAYER = {
    "keras_api", "metrics", "_metrics", "compiled_metrics", "_compile_metrics", "compiled_loss",
    "_compile_loss", "loss_tracker", "_loss_tracker", "_random_generator", "seed_generator",
    "_seed_generator", "signatures",
}  # fmt: skip
_COUNTERS = {"seed_generator_state", "StateVar", "_state_var", "save_counter", "global_step"}
_AMONG_WEIGHTED = "layer_with_weights-"
_DEEPEST = 200
_NO_NAME = re.compile(r"[Vv]ariable(_\d+)?")


class CheckpointNode(NamedTuple):
    """A node of the object graph.

    `children` are (name, node number); `attributes` are (name, full name, checkpoint key) of its
    values; `slots` are (node number of the variable, slot name, node number of the slot).
    """

    children: tuple[tuple[str, int], ...]
    attributes: tuple[tuple[str, str, str], ...]
    slots: tuple[tuple[int, str, int], ...]


class CheckpointVariable(NamedTuple):
    """One stored value: its key, the path through the graph that names it, and what it is.

    It `is_positional` where a place in one of Keras's own lists stands for a layer's name in its
    path.
    """

    key: str
    full_name: str
    path: Path
    state: State
    node: int
    is_positional: bool
    copies: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def read_graph(data: bytes) -> tuple[CheckpointNode, ...]:
    """Parse the nodes of a TrackableObjectGraph; raises ValueError if it is malformed.

    Cached, as `variables` and `addresses` are, because what a run has written is read again, with
    the same graph.
    """
    nodes = tuple([_node(found) for found in parse("Graph", data).nodes])
    named = [number for node in nodes for _, number in node.children]
    named += [number for node in nodes for of, _, slot in node.slots for number in (of, slot)]
    if named and not 0 <= min(named) <= max(named) < len(nodes):
        raise ValueError("its object graph refers to a missing object")
    return nodes


def _node(found: Any) -> CheckpointNode:
    """Return an object of a message; most have nothing but children or one attribute."""
    children, attributes, slots = found.children, found.attributes, found.slots
    return CheckpointNode(
        tuple([(child.name, child.node) for child in children]) if children else (),
        tuple([(each.name, each.full_name, each.key) for each in attributes]) if attributes else (),
        tuple([(slot.of, slot.name, slot.node) for slot in slots]) if slots else (),
    )


@lru_cache(maxsize=1)
def variables(nodes: tuple[CheckpointNode, ...]) -> Sequence[CheckpointVariable]:
    """Return all stored values of a graph, in layer order."""
    optimizers = {number for number, node in enumerate(nodes) if _is_optimizer(node)}
    paths = _shortest(nodes, _OF_NO_LAYER | _VARIABLE_LISTS, optimizers)
    if len(paths) < len(nodes):
        paths = {**_shortest(nodes, _OF_NO_LAYER, optimizers), **paths}
    state: dict[int, State] = dict.fromkeys(paths, "weight")
    slots = {slot: (of, name) for node in nodes for of, name, slot in node.slots}
    of_optimizers = _shortest(nodes, starts=sorted(optimizers))
    every = _shortest(nodes) if len(paths) < len(nodes) else {}
    for number, path in every.items():
        if number not in paths:
            paths[number] = path
            state[number] = "optimizer" if number in of_optimizers else "other"
    for number, (of, name) in slots.items():
        paths[number] = (*paths.get(of, ()), name)
        state[number] = "optimizer"
    found = [
        _variable(key, full_name, paths[number], state[number], number)
        for number, node in enumerate(nodes)
        if number in paths
        for name, full_name, key in node.attributes
        if name == VALUE
    ]
    order = _layer_order(nodes, _OF_NO_LAYER, optimizers)
    return sorted(found, key=lambda v: order.get(v.node, len(nodes) + v.node))


def _variable(key: str, full_name: str, path: Path, state: State, node: int) -> CheckpointVariable:
    name = full_name or "/".join(path)
    if state == "weight" and name.rpartition("/")[2] in _COUNTERS:
        state = "other"
    return CheckpointVariable(key, full_name, path, state, node, _is_positional(path))


def _is_positional(path: Path) -> bool:
    before = ""
    for hop in path:
        is_layers = hop.startswith("layer") or before in _WITH_PLACES
        if is_layers and hop[-1:].isdigit() and _POSITION.fullmatch(hop):
            return True
        before = hop
    return False


def _is_optimizer(node: CheckpointNode) -> bool:
    if node.slots or len(node.children) < 2:
        return bool(node.slots)
    names = {name.lstrip("_") for name, _ in node.children}
    return "learning_rate" in names and not names.isdisjoint({"iterations", "iter", "variables"})


def _shortest(
    nodes: Sequence[CheckpointNode],
    left_out: Set[str] = frozenset(),
    closed: Set[int] = frozenset(),
    starts: Sequence[int] = (0,),
) -> dict[int, Path]:
    """Return the shortest path to each reachable object, along children that `follow` accepts.

    Raises ValueError if objects are nested too deeply.
    """
    paths: dict[int, Path] = {start: () for start in starts if start < len(nodes)}
    queue = deque(paths)
    while queue:
        number = queue.popleft()
        if len(paths[number]) > _DEEPEST:
            raise ValueError("its object graph is nested too deeply")
        # Keras 2 numbers layers in two ways; the numbers among weighted layers are less stable.
        children: Sequence[tuple[str, int]] = nodes[number].children
        if len(children) > 1:
            children = sorted(children, key=lambda child: child[0].startswith(_AMONG_WEIGHTED))
        for name, child in children:
            if child not in paths and name not in left_out and child not in closed:
                paths[child] = (*paths[number], name)
                queue.append(child)
    return paths


def _layer_order(
    nodes: Sequence[CheckpointNode], left_out: Set[str], closed: Set[int]
) -> dict[int, int]:
    """Return the position of each object in depth-first order."""
    order: dict[int, int] = {}
    stack = [0] if nodes else []
    while stack:
        number = stack.pop()
        if number not in order:
            order[number] = len(order)
            children = reversed(nodes[number].children)
            stack += [to for name, to in children if name not in left_out and to not in closed]
    return order


def is_export(nodes: Sequence[CheckpointNode]) -> bool:
    """Return whether Keras 3's export wrote the graph, which saves variables twice."""
    names = {name for name, _ in nodes[0].children} if nodes else set()
    return {"variables", "_all_variables", "_misc_assets"} <= names


@lru_cache(maxsize=1)
def addresses(found: tuple[CheckpointVariable, ...]) -> Sequence[str]:
    """Return an address for each variable: Keras's name if its path is positional, else the path.

    Equal names (of two models in one checkpoint) are prefixed by the first name of their paths; if
    that is not unique, the path is used.
    """
    strip = _root_name([v for v in found if v.state == "weight"])
    wanted = [_kerasian(variable, strip) or _clean(variable.path) for variable in found]
    for more in (_with_first, lambda variable, _: _clean(variable.path)):
        counts = Counter(wanted)
        wanted = [
            name if counts[name] == 1 else more(variable, name)
            for variable, name in zip(found, wanted, strict=True)
        ]
    counts = Counter(wanted)
    unique = [
        name if name and counts[name] == 1 else of_key(variable.key)
        for variable, name in zip(found, wanted, strict=True)
    ]
    counts = Counter(unique)
    return [
        name if counts[name] == 1 else variable.key
        for variable, name in zip(found, unique, strict=True)
    ]


def of_key(key: str) -> str:
    """Return a checkpoint key without the suffix that TensorFlow adds."""
    return key.removesuffix(f"/.ATTRIBUTES/{VALUE}").replace(".OPTIMIZER_SLOT/", "")


def _with_first(variable: CheckpointVariable, name: str) -> str:
    first = variable.path[0] if variable.path else ""
    return f"{first}/{name}" if first and not _POSITION.fullmatch(first) else name


def _kerasian(variable: CheckpointVariable, strip: str) -> str:
    """Return the variable's name in Keras if its path is positional, else ""."""
    name = variable.full_name.removesuffix(":0")
    if variable.state == "optimizer" and name:
        return name
    if "/" not in name or _NO_NAME.fullmatch(name.rpartition("/")[2]):
        return ""
    if not variable.is_positional:
        return ""
    return name.removeprefix(f"{strip}/") if strip else name


def _clean(path: Path) -> str:
    kept = [hop for hop in path if hop not in _UNNAMED]
    if kept:
        kept[-1] = kept[-1].removeprefix("_")
    return "/".join(kept)


def _root_name(weights: Sequence[CheckpointVariable]) -> str:
    """Return the model's own name if it is a prefix of all layers' names, else ""."""
    named = [v.full_name.split("/") for v in weights if v.is_positional and v.full_name]
    depths = [len(_clean(v.path).split("/")) for v in weights if v.is_positional]
    firsts = {parts[0] for parts in named}
    common = {v.path[0] for v in weights if v.path}
    outer = 1 if len(common) == 1 and not _POSITION.fullmatch(next(iter(common))) else 0
    outer = 0 if common <= _WITH_PLACES else outer
    if len(firsts) != 1 or any(len(parts) < 3 for parts in named) or len(named) != len(depths):
        return ""
    deeper = [len(parts) - depth + outer for parts, depth in zip(named, depths, strict=True)]
    return firsts.pop() if min(deeper) > 0 else ""
