"""Files of a SavedModel: their list, copies of them, and the fingerprint."""

from __future__ import annotations

import os
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats import _outputs
from surgery.formats._tensorflow.farmhash import fingerprint64
from surgery.formats._tensorflow.fields import Fingerprint
from surgery.formats._tensorflow.proto import located, put_integer
from surgery.formats.base import Output
from surgery.storage import disk
from surgery.storage.descriptors import Descriptor, FileRange
from surgery.weights.tensor import raw_bytes

GRAPH = "saved_model.pb"
FINGERPRINT = "fingerprint.pb"
KERAS = "keras_metadata.pb"
VARIABLES = "variables/variables"

_MOST_FILES = 100_000


def all_files(folder: Path) -> list[Path]:
    """Return the paths of all files below a SavedModel's folder, relative to it.

    Raises FormatError for symbolic links.
    """
    found = []
    for root, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            file = Path(root) / name
            if file.is_symlink():
                raise FormatError(f"{file} is a link, which is not followed")
            found.append(file.relative_to(folder))
        if len(found) > _MOST_FILES:
            raise FormatError(f"{folder} holds more than {_MOST_FILES:,} files")
    return found


def other_files(folder: Path) -> list[Path]:
    """Return all files but the variables and the fingerprint, which are written anew."""
    return [
        file
        for file in all_files(folder)
        if file.parts[0] != "variables" and str(file) != FINGERPRINT
    ]


def copied(source: Path, target: Path) -> Output:
    """Make an output that copies a file, in the same stream as the weights."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = disk.create(target)
    size = source.stat().st_size
    copied = raw_bytes(FileRange(source, 0), size, Descriptor.open(source))
    return _outputs.output(descriptor, [(0, copied)])


def write_fingerprint(source: Path, target: Path) -> None:
    """Write the source's fingerprint, updated for the new checkpoint, if it has one."""
    if not (source / FINGERPRINT).is_file():
        return
    data = (source / FINGERPRINT).read_bytes()
    index = Path(f"{target / VARIABLES}.index").read_bytes()
    out = b""
    for field in located(data):
        if field.number == Fingerprint.CHECKPOINT_HASH:
            out += put_integer(field.number, fingerprint64(index))
        else:
            out += data[field.tag : field.stop]
    (target / FINGERPRINT).write_bytes(out)
    disk.sync(target / FINGERPRINT)
