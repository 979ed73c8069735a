"""Paths of groups in weights files of Keras 2.12 to 2.14, and their paths in Keras 3.

Those versions store a model's layers under `_layer_checkpoint_dependencies`, and 2.12 and 2.13
count each layer that has weights twice: `dense`, `dense_2`, `dense_4` for the first three.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence

from surgery.architecture import Architecture, Layer
from surgery.architecture.entries import join
from surgery.errors import FormatError

OLD_LAYERS = "_layer_checkpoint_dependencies"


def todays_places(
    stored: Collection[str], filled: Collection[str], architecture: Architecture | None, file: str
) -> dict[str, str]:
    """Return {stored group: its path in Keras 3's layout}.

    `filled` are the groups that contain variables. Without an architecture the numbers are kept.
    Raises FormatError if the numbers fit neither way of counting.
    """
    moved: dict[str, str] = {}
    if architecture is not None and any(OLD_LAYERS in path for path in stored):
        for old, new in _moves(architecture.root, "", filled, file):
            moved[old] = new
    return {path: _moved(path, moved) for path in stored}


def moved_asset(name: str, groups: Mapping[str, str]) -> str:
    """Return the name in Keras 3's layout of a file that belongs to a layer.

    `groups` is {stored group of weights: its path in Keras 3's layout}.
    """
    moved: dict[str, str] = {}
    for old, new in groups.items():
        pairs = list(zip(old.split("/"), new.split("/"), strict=False))
        for depth in range(len(pairs)):
            ours, theirs = zip(*pairs[: depth + 1], strict=True)
            moved["/".join(ours)] = "/".join(theirs)
    folder, _, path = name.partition("/")
    return f"{folder}/{_moved(path, moved)}"


def _moved(path: str, moved: Mapping[str, str]) -> str:
    head = path
    while head and head not in moved:
        head = head.rpartition("/")[0]
    place = moved.get(head, "") + path[len(head) :]
    return place.lstrip("/").replace(OLD_LAYERS, "layers")


def _moves(
    layer: Layer, stored: str, filled: Collection[str], file: str
) -> Iterator[tuple[str, str]]:
    """Yield (old path, new path) of each layer, owners first."""
    inside = join(layer.group, "layers")
    listed = [child for child in layer.children if child.group.startswith(f"{inside}/")]
    for child in layer.children:
        if child not in listed:  # stored under an attribute: a cell, a wrapped layer
            own = join(stored, child.group.rpartition("/")[2])
            yield from _moves(child, own, filled, file)
    for class_name in dict.fromkeys(_group_class(child) for child in listed):
        same = [child for child in listed if _group_class(child) == class_name]
        folder = join(stored, OLD_LAYERS)
        for child, number in _numbered(same, folder, class_name, filled, file):
            old = join(folder, f"{class_name}_{number}" if number else class_name)
            yield old, child.group
            yield from _moves(child, old, filled, file)


def _group_class(layer: Layer) -> str:
    return re.sub(r"_\d+$", "", layer.group.rpartition("/")[2])


def _numbered(
    layers: Sequence[Layer], folder: str, class_name: str, filled: Collection[str], file: str
) -> list[tuple[Layer, int]]:
    """Return (layer, stored number) of a container's layers of one class that have weights.

    Raises FormatError if the numbers are ambiguous.
    """
    pattern = re.compile(rf"{re.escape(folder)}/{re.escape(class_name)}(?:_(\d+))?(?:/.*)?")
    matches = (pattern.fullmatch(path) for path in filled)
    found = sorted({int(match[1] or 0) for match in matches if match})
    unique = [layer for layer in layers if not layer.repeat]
    weighted = [layer for layer in unique if _has_weights(layer)]
    once = [number for number, layer in enumerate(unique) if layer in weighted]
    if found in (once, _counted_twice(layers, weighted)):
        return list(zip(weighted, found, strict=True))
    if len(found) == len(unique) and any(_is_custom(layer) for layer in unique):
        return list(zip(unique, found, strict=True))
    if not found:  # saved before they were built
        return []
    raise FormatError(
        f"{file}: it has {class_name} number {', '.join(map(str, found))} under {folder}, and "
        f"its config has {len(weighted)} such layers with weights "
        f"({', '.join(layer.address for layer in weighted[:5])}), which cannot be matched"
    )


def _counted_twice(layers: Sequence[Layer], weighted: Sequence[Layer]) -> list[int]:
    """Return the numbers in Keras 2.12 and 2.13, where a layer with weights counts twice."""
    numbers: list[int] = []
    next_number = 0
    for layer in layers:
        if layer in weighted:
            numbers.append(next_number)
        next_number += 2 if layer in weighted or layer.repeat else 1
    return numbers


def _has_weights(layer: Layer) -> bool:
    return next(layer.weights(), None) is not None or any(map(_is_custom, layer.walk()))


def _is_custom(layer: Layer) -> bool:
    return layer.variables is None
