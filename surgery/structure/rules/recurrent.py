"""Recurrent layers, whose units are in every gate and in the states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from surgery.architecture import Layer
from surgery.architecture.entries import class_of
from surgery.structure.calls import LAYERS, At, Axis, Outputs
from surgery.weights.tensor import Array

_GATES = {"LSTM": 4, "GRU": 3, "SimpleRNN": 1}
_SIMPLE = tuple(_GATES)
_STATES = {"LSTM": 2}


def _weights(at: At, cell: Layer, kind: str, given: Axis, out: Array) -> None:
    """Cut the variables of a cell."""
    gates, rank = _GATES[kind], 0
    units = np.tile(out, gates)
    at.cut("kernel", rank, given, "in", cell.address)
    at.cut("kernel", rank + 1, units, "out", cell.address)
    at.cut("recurrent_kernel", rank, out, "in", cell.address)
    at.cut("recurrent_kernel", rank + 1, units, "out", cell.address)
    is_double = kind == "GRU" and at.config.get("reset_after", True)
    at.cut("bias", 1 if is_double else 0, units, "along", cell.address)


def _returned(at: At, kind: str, out: Axis) -> Outputs:
    many: Sequence[Axis] = [None, None, out]
    made = [many if at.config.get("return_sequences") else [None, out]]
    if at.config.get("return_state"):
        made += [[None, out]] * _STATES.get(kind, 1)
    return made


def _check(at: At, out: Array) -> None:
    """Pin what a cut would not be certain to keep: odd activations, states in the file."""
    at.activated(out)
    at.activated(out, "recurrent_activation")
    if at.config.get("stateful"):
        at.pin(out, "keeps its states")


@LAYERS(*_SIMPLE)
def _recurrent(at: At) -> Outputs:
    if len(at.children()) != 1:
        return None
    kind = at.class_name
    given = at.read(at.only(len(at.x) - 1))
    out = at.make(int(at.config["units"]))
    _weights(at, at.children()[0], kind, given, out)
    _check(at, out)
    at.edit("units", out)
    for state in at.tensors[1:]:
        if state.labels[-1] is None:
            at.pin(out, "is given a state whose channels must stay")
        else:
            at.labels.join(state.labels[-1], out)
    return _returned(at, kind, out)


@LAYERS("Bidirectional")
def _bidirectional(at: At) -> Outputs:
    inner, mode = at.config["layer"], at.config.get("merge_mode", "concat")
    kind = class_of(inner)
    backward = at.config.get("backward_layer") or inner
    if (
        kind not in _SIMPLE
        or class_of(backward) != kind
        or len(at.tensors) > 1
        or len(at.children()) != 2
        or inner["config"].get("return_state")
        or mode is None
    ):
        return None
    given = at.read(at.only(len(at.x) - 1))
    outs = [at.make(int(inner["config"]["units"]), name) for name in ("out", "backward")]
    at.labels.join(*outs)
    for layer, out, child in zip((inner, backward), outs, at.children(), strict=True):
        one = at.inside(layer, child, ())
        _weights(one, child.children[0], kind, given, out)
        _check(one, out)
    at.edit(("layer", "config", "units"), outs[0])
    if at.config.get("backward_layer"):
        at.edit(("backward_layer", "config", "units"), outs[1])
    both = np.concatenate(outs) if mode == "concat" else outs[0]
    return _returned(at.inside(inner, None, ()), kind, both)


@LAYERS("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def _conv_lstm(at: At) -> Outputs:
    if len(at.children()) != 1 or len(at.tensors) > 1:
        return None
    is_first = at.config.get("data_format") == "channels_first"
    axis, rank = 2 if is_first else len(at.x) - 1, len(at.x) - 3
    given, out = at.read(at.only(axis)), at.make(int(at.config["filters"]))
    cell, gates = at.children()[0].address, np.tile(out, 4)
    at.cut("kernel", rank, given, "in", cell)
    at.cut("kernel", rank + 1, gates, "out", cell)
    at.cut("recurrent_kernel", rank, out, "in", cell)
    at.cut("recurrent_kernel", rank + 1, gates, "out", cell)
    at.cut("bias", 0, gates, "along", cell)
    _check(at, out)
    at.edit("filters", out)
    made = at.placed(out, axis, len(at.x))
    single = [made[0], *made[2:]]
    returned = [made if at.config.get("return_sequences") else single]
    return returned + ([single] * 2 if at.config.get("return_state") else [])
