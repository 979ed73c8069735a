"""Rules on how classes pass on channels: one file a family, each rule registered by class name.

A rule gets a call (`At`) and returns the labels of what the call returns, or None where it cannot
tell; then the labels of all its tensors are pinned. Labels that must be kept or removed together
are joined; axes of variables that they index are cut, numbers in the config that count them edited.
"""

from surgery.structure.rules import (  # noqa: F401 - each registers its rules
    attention,
    convolution,
    dense,
    elementwise,
    merging,
    normalization,
    operations,
    pooling,
    recurrent,
    reshaping,
    wrapping,
)
