"""Models and data behind URLs (s3://, gs://, hf://, https://), read and written by fsspec.

Each URL has a local twin: a path in this process's temporary folder. The twin of a large file
is a sparse file, whose holes are filled when their bytes are read; a small file is fetched
whole. A target is written to its twin, and uploaded when it is complete. So all other code
handles paths alone.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import itertools
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from surgery.errors import SurgeryError, UsageError
from surgery.storage.temporary import lasting_folder

BLOCK = 1 << 17
"""The size in bytes of a block, the unit of fetching: reads near a header follow one another."""

_MOST_WHOLE = 8 << 20
_HEADS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
_SHARD = re.compile(r".*\.data-\d{5}-of-\d{5}")
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?!/)(.+)", re.DOTALL)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf"}

_ALIASES = {"s3a": "s3", "gcs": "gs"}
_LONGEST = 200

Result = TypeVar("Result")


class UrlError(UsageError, ValueError):
    """A URL that has no local twin."""


def url_in(text: str) -> str | None:
    """Return the URL in a text, its slashes restored if `Path` made `s3:/a` of it; else None."""
    found = _URL.fullmatch(text)
    if not found or (f"{found[1]}://" not in text and os.path.lexists(text)):
        return None
    return f"{found[1]}://{found[2]}"


@functools.cache
def _root() -> Path:
    """Return the temporary folder of all twins; it is removed when the process ends."""
    folder = lasting_folder("remote-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_known: set[str] = set()


def resolve(path: Path | str) -> Path:
    """Return the twin of a URL; any other path is returned unchanged.

    Raises UrlError if the URL has a part that no path can have, as `..`.
    """
    url = url_in(str(path))
    if url is None:
        return Path(path)
    scheme, _, rest = url.partition("://")
    scheme = _ALIASES.get(scheme, scheme)
    parts = rest.rstrip("/").split("/")
    if odd := [part for part in parts if part in ("", ".", "..")]:
        raise UrlError(
            f"{url} has {odd[0] or '//'} in it, which a local path cannot have; remove it"
        )
    _known.add(scheme)
    return _root().joinpath(scheme, *map(_short, parts))


_long: dict[str, str] = {}
"""Names too long for a local file (signed URLs have such), by their shortened names."""


def _short(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    short = name[:100] + hashlib.sha256(name.encode()).hexdigest()[:16]
    _long[short] = name
    return short


def url_of(path: Path) -> str | None:
    """Return the URL whose twin a path is; None for a local path."""
    if not _known or not path.is_relative_to(_root()):
        return None
    scheme, *rest = path.relative_to(_root()).parts
    return f"{scheme}://{'/'.join(_long.get(name, name) for name in rest)}"


def with_urls(text: str) -> str:
    """Replace the paths of twins in a text by their URLs."""
    if not _known:
        return text
    return re.sub(rf"{re.escape(str(_root()))}/([a-z0-9+.-]+)/", r"\1://", text)


class SparseCopy:
    """A sparse local copy of a remote file, whose holes are filled on demand.

    It keeps filling the file that it created, even when a newer copy has taken that path.
    """

    def __init__(self, path: Path, system: Any, name: str, size: int) -> None:
        self._path, self._system, self._name, self.size = path, system, name, size
        self._is_there = bytearray(-(-size // BLOCK))
        self._lock = threading.Lock()
        self._file = path.open("x+b")
        self._file.truncate(size)

    def fill(self, start: int, stop: int) -> None:
        """Fetch the blocks of a byte range that the local copy does not have yet."""
        stop = min(stop, self.size)
        if start >= stop:
            return
        first, last = start // BLOCK, -(-stop // BLOCK)
        with self._lock:
            missing = [n for n in range(first, last) if not self._is_there[n]]
        for run in _runs(missing):
            data = self._fetched(run[0] * BLOCK, min((run[-1] + 1) * BLOCK, self.size))
            with self._lock:
                self._file.seek(run[0] * BLOCK)
                self._file.write(data)
                self._file.flush()
                for number in run:
                    self._is_there[number] = 1

    def _fetched(self, begin: int, end: int) -> bytes:
        data: bytes = _asked(
            self._path, lambda: self._system.cat_file(self._name, start=begin, end=end)
        )
        if len(data) == self.size:  # from a server that ignores ranges
            data = data[begin:end]
        if len(data) != end - begin:
            raise SurgeryError(
                f"{url_of(self._path)} is truncated, or was changed while it was read"
            )
        return data


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """Yield runs of consecutive numbers: [1, 2, 5] gives [1, 2] and [5]."""
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in group]


_copies: dict[Path, SparseCopy] = {}
_versions: dict[Path, str] = {}


def sparse_copy(path: Path) -> SparseCopy | None:
    """Return the SparseCopy at a path; None if the file there has no holes."""
    return _copies.get(path) if _copies else None


def prepare(path: Path) -> None:
    """Make the twin of a model's URL, large files as sparse copies; local paths are left alone.

    Raises SurgeryError if there is nothing at the URL, or it cannot be fetched.
    """
    if url_of(path) is None or _is_prepared(path):
        return
    system, name = _system(path)
    facts = _facts(path)
    if facts is None:  # perhaps a checkpoint, which is named by the common prefix of its files
        found = _asked(path, lambda: [f for f in system.glob(f"{name}.*") if _belongs(f, name)])
        if not found:
            raise SurgeryError(f"{url_of(path)}: no such file or folder")
        for file in found:
            _prepare_file(path.parent / file.rpartition("/")[2])
    elif facts["type"] == "directory":
        for file in _asked(path, lambda: system.find(name)):
            inner = file.removeprefix(name).strip("/")
            if ".." not in inner.split("/"):
                _prepare_file(path / inner)
    else:
        _prepare_file(path, facts)
        others = [name.removesuffix(end) + rest for end, rest in _BESIDE.items()
                  if name.endswith(end)]  # fmt: skip
        for file in _asked(path, lambda: [found for each in others for found in system.glob(each)]):
            _prepare_file(path.parent / file.rpartition("/")[2])


_BESIDE = {".index": ".data-*", ".weights.json": "_*.weights.h5"}
"""The other files of a model, by the suffix of the file that lists them."""


def _belongs(file: str, name: str) -> bool:
    """Return whether a file belongs to the checkpoint with the prefix `name`."""
    prefix, own = name.rpartition("/")[2], file.rpartition("/")[2]
    rest = own.removeprefix(prefix)
    is_part = rest in (".index", ".meta") or bool(_SHARD.fullmatch(rest))
    return own.startswith(prefix) and is_part


def _known_files(path: Path) -> list[Path]:
    """Return the existing twins of a file, of a folder's files, or of a checkpoint prefix."""
    return [
        each
        for each in _versions
        if each == path
        or path in each.parents
        or (each.parent == path.parent and _belongs(each.name, path.name))
    ]


def _is_prepared(path: Path) -> bool:
    """Return whether all files of a path have twins of their current versions."""
    known = _known_files(path)
    return bool(known) and all(version(each) == _versions[each] for each in known)


def unchanged(path: Path) -> Callable[[], None]:
    """Return a function that raises SurgeryError if a remote file of the path has changed.

    It compares with the versions of the twins at the time of this call.
    """
    seen = {each: _versions[each] for each in _known_files(path)}

    def check() -> None:
        for each, seen_version in seen.items():
            if version(each) != seen_version:
                raise SurgeryError(f"{url_of(each)} was changed while it was read")

    return check


def _prepare_file(path: Path, facts: Mapping[str, Any] | None = None) -> None:
    facts = facts or _facts(path)
    if facts is None:
        raise SurgeryError(f"{url_of(path)}: no such file or folder")
    system, name = _system(path)
    size = facts.get("size")
    _copies.pop(path, None)
    path.unlink(missing_ok=True)  # a model opened before keeps reading its old, unlinked copy
    path.parent.mkdir(parents=True, exist_ok=True)
    if size is None or size <= _MOST_WHOLE or not _is_sparse(path, size):
        _asked(path, lambda: system.get_file(name, str(path)))
    else:
        made = SparseCopy(path, system, name, size)
        made.fill(0, BLOCK)  # formats are recognised by their first and last bytes
        made.fill(size - BLOCK, size)
        _copies[path] = made
    _versions[path] = _version(facts)


def _is_sparse(path: Path, size: int) -> bool:
    """Return whether a file may be a sparse copy: all readers of its format fetch on demand."""
    if _SHARD.fullmatch(path.name):
        return True
    system, name = _system(path)
    head: bytes = _asked(path, lambda: system.cat_file(name, start=0, end=16))
    is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size
    return head.startswith(_HEADS) or is_safetensors


def download(path: Path) -> None:
    """Fetch all bytes of a remote file or folder; local paths are left alone."""
    if url_of(path) is None:
        return
    prepare(path)
    for each, known in list(_copies.items()):
        if each == path or path in each.parents:
            known.fill(0, known.size)


def version(path: Path) -> str | None:
    """Return the current version of a remote file, or "gone"; None for a local path."""
    if url_of(path) is None or path not in _versions:
        return None
    facts = _facts(path)
    return "gone" if facts is None else _version(facts)


def version_there(path: Path) -> str | None:
    """Return the version of the remote file at a twin's URL, fetched or not.

    None if there is no file.
    """
    facts = _facts(path)
    return None if facts is None or facts["type"] == "directory" else _version(facts)


_TAGS = ("ETag", "etag", "md5Hash", "checksum", "blob_id", "mtime", "LastModified",
         "last_modified", "created")  # fmt: skip
"""The keys under which file systems report a file's version, the most reliable first."""


def _version(facts: Mapping[str, Any]) -> str:
    tag = next((str(facts[tag]) for tag in _TAGS if facts.get(tag)), "")
    return f"{facts.get('size')} {tag}"


def exists(path: Path) -> bool:
    """Return whether a local path, or the remote file of a twin, exists."""
    if url_of(path) is None:
        return path.exists()
    return _facts(path) is not None


def upload(made: Path, path: Path) -> None:
    """Upload a finished file or folder to the URL of the twin `path`.

    A remote file becomes visible only when it is complete (object stores and fsspec see to
    that). The files at the top of a folder, which name the others, are uploaded last.
    """
    system, name = _system(path)
    if made.is_dir():
        files = [file for file in made.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda f: (-len(f.relative_to(made).parts), f)):
            inner = f"{name}/{file.relative_to(made).as_posix()}"
            _asked(path, lambda: _put(system, file, inner))  # noqa: B023
    else:
        _asked(path, lambda: _put(system, made, name))
    system.invalidate_cache()


def _put(system: Any, file: Path, name: str) -> None:
    if "file" in system.protocol or "memory" in system.protocol:
        system.makedirs(name.rpartition("/")[0], exist_ok=True)
    system.put_file(str(file), name)


def _facts(path: Path) -> Mapping[str, Any] | None:
    """Return what the file system reports of a file or folder now; None if there is none."""
    system, name = _system(path)
    system.invalidate_cache()

    def ask() -> Mapping[str, Any] | None:
        try:
            return dict(system.info(name))
        except FileNotFoundError:
            return None

    return _asked(path, ask)


@functools.cache
def _opened(scheme: str) -> Any:
    """Return the fsspec file system of a scheme, configured by the cloud's own settings.

    Raises SurgeryError for an unknown scheme or a missing package.
    """
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        extra = _EXTRAS.get(scheme, "http")
        raise SurgeryError(f'{scheme}:// needs more: pip install "tf-surgery[{extra}]"') from None
    except ValueError:
        raise SurgeryError(f"{scheme}:// is not a scheme that fsspec knows") from None


def _system(path: Path) -> tuple[Any, str]:
    url = url_of(path)
    assert url is not None
    system = _opened(url.partition("://")[0])
    return system, str(system._strip_protocol(url))


def _asked(path: Path, ask: Callable[[], Result]) -> Result:
    """Return the result of a call to a file system; its errors become SurgeryErrors."""
    try:
        return ask()
    except SurgeryError:
        raise
    except Exception as error:  # each cloud's library has its own errors
        message = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, FileNotFoundError):
            message = "no such file or folder"
        raise SurgeryError(f"{url_of(path)}: {message}") from error
