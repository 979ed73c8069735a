"""Preprocessing layers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from surgery.architecture.shapes.registry import LAYERS, Shape
from surgery.architecture.shapes.sizes import per_axis, product, split, window, with_size


@LAYERS.shape("CategoryEncoding")
def _categories(inputs: Shape, *, num_tokens: int, output_mode: str = "multi_hot") -> Shape:
    return _encoded(inputs, output_mode, num_tokens)


def _encoded(inputs: Shape, output_mode: str, depth: int | None) -> Shape:
    """Return the shape of encoded categories; one-hot codes replace a last axis of size 1."""
    kept = output_mode == "one_hot" and (len(inputs) < 2 or inputs[-1] != 1)
    return (*(inputs if kept else inputs[:-1]), depth)


@LAYERS.shape("Discretization")
def _discretization(
    inputs: Shape, *, bin_boundaries: Any = None, num_bins: Any = None, output_mode: str = "int"
) -> Shape:
    if output_mode == "int":
        return inputs
    depth = num_bins if bin_boundaries is None else len(bin_boundaries) + 1
    if output_mode == "one_hot":
        return _encoded(inputs, output_mode, depth)
    return (*inputs[:1], *inputs[2:], depth) if len(inputs) > 1 else (depth,)


@LAYERS.shape("Hashing")
def _hashing(inputs: Shape, *, num_bins: int, output_mode: str = "int") -> Shape:
    return inputs if output_mode == "int" else (*inputs[:-1], num_bins)


@LAYERS.shape("HashedCrossing")
def _crossing(inputs: list[Shape], *, num_bins: int, output_mode: str = "int") -> Shape:
    first, _ = inputs
    if output_mode == "int":
        return first
    kept = output_mode == "one_hot" and first[-1] != 1
    return (*(first if kept else first[:-1]), num_bins)


@LAYERS.shape("IntegerLookup", "StringLookup")
def _lookup(
    inputs: Shape,
    *,
    output_mode: str = "int",
    max_tokens: int | None = None,
    pad_to_max_tokens: bool = False,
    vocabulary_size: int | None,
) -> Shape:
    if output_mode == "int":
        return inputs
    return _encoded(inputs, output_mode, max_tokens if pad_to_max_tokens else vocabulary_size)


@LAYERS.shape("TextVectorization")
def _text(
    inputs: Shape,
    *,
    output_mode: str = "int",
    output_sequence_length: int | None = None,
    split: Any = "whitespace",
    max_tokens: int | None = None,
    pad_to_max_tokens: bool = False,
    vocabulary_size: int | None,
) -> Shape:
    if output_mode == "int":
        return (inputs[0], output_sequence_length)
    if split is not None:
        inputs = (*inputs, None)
    elif len(inputs) < 2:
        inputs = (*inputs, 1)
    return (*inputs[:-1], max_tokens if pad_to_max_tokens else vocabulary_size)


@LAYERS.shape("CenterCrop", "Resizing", "RandomCrop")
def resized(images: Shape, *, height: int, width: int, data_format: Any = None) -> Shape:
    """Return the shape of images of another size."""
    if len(images) not in (3, 4):
        raise ValueError(images)
    first = -2 if data_format == "channels_first" else -3
    return with_size(with_size(images, first, height), first + 1, width)


@LAYERS.shape("MaxNumBoundingBoxes")
def _boxes(inputs: Mapping[str, Any], *, max_number: int) -> Any:
    boxes = inputs["bounding_boxes"]
    kept = {name: with_size(boxes[name], 1, max_number) for name in ("boxes", "labels")}
    return {**inputs, "bounding_boxes": kept}


@LAYERS.shape("MelSpectrogram")
def _mel(inputs: Shape, *, num_mel_bins: int = 128, sequence_stride: int = 512) -> Shape:
    length = inputs[-1]
    frames = None if length is None else (length + sequence_stride + 1) // sequence_stride
    return (*inputs[:1] * (len(inputs) > 1), num_mel_bins, frames)


@LAYERS.shape("STFTSpectrogram")
def _stft(
    inputs: Shape,
    *,
    mode: str = "log",
    frame_length: int = 256,
    frame_step: int | None = None,
    fft_length: int | None = None,
    padding: str = "valid",
    expand_dims: bool = False,
    data_format: Any = None,
) -> Shape:
    batch, space, channels = split(inputs, data_format)
    points = fft_length or 2 ** math.ceil(math.log2(frame_length))
    bins = (points // 2 + 1) * (2 if mode == "stft" else 1)
    (length,) = space
    (step,) = per_axis(frame_step or frame_length // 2, 1)
    frames = window(length, frame_length, step, padding)
    if data_format == "channels_first":
        tail = (channels, frames, bins) if expand_dims else (product([bins, channels]), frames)
    else:
        tail = (frames, bins, channels) if expand_dims else (frames, product([bins, channels]))
    return (batch, *tail)
