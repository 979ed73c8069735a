"""Type checks of a model's config: names are text, layers are lists of mappings, and so on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_WRAPPED = ("layer", "cell", "backward_layer", "forward_layer")
_MODELS = ("Sequential", "Functional", "Model")
_KINDS: Mapping[str, tuple[type, ...]] = {
    "name": (str,),
    "module": (str,),
    "registered_name": (str,),
    "trainable": (bool, int),
    "shared_object_id": (int,),
    "inbound_nodes": (list,),
}
_WORDS: Mapping[type, str] = {str: "text", bool: "true or false", int: "a number", list: "a list"}


class ConfigError(ValueError):
    """A config that Keras does not write; the message has the place in it, and the value."""


def check_types(entry: Any, place: str = "") -> None:
    """Raise ConfigError for the first value of a wrong type in a layer's config or below it.

    A class that is not Keras's own may use any other key freely.
    """
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_name"), str):
        raise ConfigError(f"{place or 'it'} is {_shown(entry)}, not a layer with a class_name")
    config = entry.get("config")
    is_model = entry["class_name"] in _MODELS
    if not (
        config is None or isinstance(config, Mapping) or (is_model and isinstance(config, list))
    ):
        raise ConfigError(f"{_at(place, 'config')} is {_shown(config)}, not a mapping")
    _check_values(entry, place)
    for number, node in enumerate(entry.get("inbound_nodes") or ()):
        if not isinstance(node, list | Mapping):
            where = _at(place, f"inbound_nodes[{number}]")
            raise ConfigError(f"{where} is {_shown(node)}, not a list or a mapping")
    inside = _at(place, "config")
    if isinstance(config, Mapping):
        _check_values(config, inside)
    for where, inner in _inner(config, inside, is_model):
        check_types(inner, where)


def _check_values(values: Mapping[str, Any], place: str) -> None:
    for key, kinds in _KINDS.items():
        value = values.get(key)
        if value is not None and not isinstance(value, kinds):
            raise ConfigError(f"{_at(place, key)} is {_shown(value)}, not {_WORDS[kinds[0]]}")


def _inner(config: Any, place: str, is_model: bool) -> Iterator[tuple[str, Any]]:
    """Yield (place, config) of each layer inside a layer's config at `place`.

    Raises ConfigError if the layers of a model (`is_model`) are not a list.
    """
    layers, where = (config, place) if isinstance(config, list) else (None, _at(place, "layers"))
    if isinstance(config, Mapping):
        layers = config.get("layers")
        for key in _WRAPPED:
            if _has_class(config.get(key)):
                yield _at(place, key), config[key]
    if isinstance(layers, list) and (is_model or all(map(_has_class, layers))):
        yield from ((f"{where}[{number}]", layer) for number, layer in enumerate(layers))
    elif is_model and layers is not None:
        raise ConfigError(f"{where} is {_shown(layers)}, not a list")


def _has_class(value: Any) -> bool:
    return isinstance(value, Mapping) and "class_name" in value


def _at(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:40]}..."
