"""Recurrent layers and their cells."""

from __future__ import annotations

from typing import Any

from surgery.architecture.shapes.convolution import conv
from surgery.architecture.shapes.registry import LAYERS, Entry, Shape
from surgery.architecture.shapes.sizes import count, known, numbers, split

_GATES = {"LSTM": 4, "CuDNNLSTM": 4, "ConvLSTM": 4, "GRU": 3, "CuDNNGRU": 3, "SimpleRNN": 1}
_STATES = {"LSTM": 2, "CuDNNLSTM": 2}
_PLAIN = ("LSTM", "GRU", "SimpleRNN", "CuDNNLSTM", "CuDNNGRU")
_CELLS = ("LSTMCell", "GRUCell", "SimpleRNNCell")
_CONV = ("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")


@LAYERS.shape(*_PLAIN, "RNN")
def _recurrent(
    sequences: Any, *, entry: Entry, return_sequences: bool = False, return_state: bool = False
) -> Any:
    batch, steps, *_ = _first(sequences)
    cell = _cell(entry)
    output = (batch, *([steps] if return_sequences else []), _output_size(cell))
    return [output, *_with_batch(_state_sizes(cell), batch)] if return_state else output


def _first(sequences: Any) -> Shape:
    """Return the sequences alone, where older Keras lists the states after them."""
    found: Shape = sequences[0] if isinstance(sequences, list) else sequences
    return found


def _cell(entry: Entry) -> Entry:
    """Return the cell of a recurrent layer, which most have in their own config."""
    class_name, config = str(entry["class_name"]), entry["config"]
    if class_name == "RNN":
        cell: Entry = config["cell"]
        return cell
    return {"class_name": f"{class_name}Cell", "config": config}


def _cells(cell: Entry) -> list[Entry]:
    stacked = cell["class_name"] == "StackedRNNCells"
    return list(cell["config"]["cells"]) if stacked else [cell]


def _units(cell: Entry) -> int:
    kind = str(cell["class_name"]).removesuffix("Cell")
    if kind not in _PLAIN or str(cell.get("registered_name") or "").partition(">")[1]:
        raise ValueError(kind)  # a cell of the user's own
    return count([cell["config"]["units"]])


def _output_size(cell: Entry) -> int:
    return _units(_cells(cell)[-1])


def _state_sizes(cell: Entry) -> list[Any]:
    """Return the size of each state; of cells that are stacked, those of each cell."""
    if cell["class_name"] == "StackedRNNCells":
        sizes = [_state_sizes(inner) for inner in _cells(cell)]
        return [inner[0] if len(inner) == 1 else inner for inner in sizes]
    kind = str(cell["class_name"]).removesuffix("Cell")
    return [_units(cell)] * _STATES.get(kind, 1)


def _with_batch(sizes: list[Any], batch: int | None) -> list[Any]:
    return [_with_batch(size, batch) if isinstance(size, list) else (batch, size) for size in sizes]


@LAYERS.shape(*_CELLS, "StackedRNNCells")
def _step(_inputs: Shape, states: Any, *, entry: Entry) -> Any:
    batch = _inputs[0]
    return [(*_inputs[:-1], _output_size(entry)), _states_after(entry, states, batch)]


def _states_after(cell: Entry, states: Any, batch: int | None) -> Any:
    made = _with_batch(_state_sizes(cell), batch)
    return made if isinstance(states, list) else made[0]


@LAYERS.shape(*_CONV)
def _conv_recurrent(
    sequences: Any, *, entry: Entry, return_sequences: bool = False, return_state: bool = False
) -> Any:
    batch, steps, *rest = _first(sequences)
    state = _conv_step((batch, *rest), entry)
    output = (batch, steps, *state[1:]) if return_sequences else state
    return [output, state, state] if return_state else output


def _conv_step(inputs: Shape, entry: Entry) -> Shape:
    keys = ("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate")
    config = entry["config"]
    return conv(inputs, **{key: config[key] for key in keys if key in config})


@LAYERS.cost(*_PLAIN, "RNN")
def _recurrent_cost(_output: Any, sequences: Any, *, entry: Entry) -> int:
    batch, steps, size = known(_first(sequences))
    total = 0
    for cell in _cells(_cell(entry)):
        total += batch * steps * _step_cost(cell, size)
        size = _units(cell)
    return total


def _step_cost(cell: Entry, size: int) -> int:
    """Return the FLOPs of one step of a cell for one example, which has `size` features."""
    units, config = _units(cell), cell["config"]
    gates = _GATES[str(cell["class_name"]).removesuffix("Cell")]
    biases = bool(config.get("use_bias", True)) * (2 if config.get("reset_after") else 1)
    return gates * units * (2 * (size + units) + biases)


@LAYERS.cost(*_CELLS, "StackedRNNCells")
def _cell_cost(_output: Any, inputs: Shape, *, entry: Entry) -> int:
    batch, size = known(inputs)
    sizes = [size, *map(_units, _cells(entry))]
    return sum(
        batch * _step_cost(cell, given) for cell, given in zip(_cells(entry), sizes, strict=False)
    )


@LAYERS.cost(*_CONV)
def _conv_recurrent_cost(
    _output: Any,
    sequences: Any,
    *,
    entry: Entry,
    kernel_size: Any,
    use_bias: bool = True,
    data_format: Any = None,
) -> int:
    batch, steps, *rest = known(_first(sequences))
    state = _conv_step((batch, *rest), entry)
    _, space, filters = split(state, data_format)
    channels = known([split((batch, *rest), data_format)[2], filters])
    taps = count(numbers(kernel_size, len(space))) * sum(channels)
    return steps * 4 * count(state) * (2 * taps + bool(use_bias))
