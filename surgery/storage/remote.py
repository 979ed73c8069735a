"""Models and data behind URLs (s3://, gs://, hf://, https://), by fsspec.

A URL has a local twin: a path in this process's temporary folder. What is large there is a file
with holes, which are filled when bytes of it are read; the rest is fetched whole. What is written
to a twin is sent off when it is whole. So all other code knows paths alone.
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
"""Bytes that are fetched at least: a read of a header is followed by others near to it."""

_MOST_WHOLE = 8 << 20
_HEADS = (b"PK\x03\x04", b"\x89HDF\r\n\x1a\n")
_SHARD = re.compile(r".*\.data-\d{5}-of-\d{5}")
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?!/)(.+)", re.DOTALL)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "hf": "hf"}

_ALIASES = {"s3a": "s3", "gcs": "gs"}
_LONGEST = 200

Result = TypeVar("Result")


class UrlError(UsageError, ValueError):
    """A URL that no path can stand for."""


def url_in(text: str) -> str | None:
    """Return the URL that a text is, with both slashes where a path has left one; None for none."""
    found = _URL.fullmatch(text)
    if not found or (f"{found[1]}://" not in text and os.path.lexists(text)):
        return None
    return f"{found[1]}://{found[2]}"


@functools.cache
def _root() -> Path:
    """Return the folder of the twins, which is removed when the process ends."""
    folder = lasting_folder("remote-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


_known: set[str] = set()


def resolve(path: Path | str) -> Path:
    """Return the twin of a URL, or any other path as it is."""
    url = url_in(str(path))
    if url is None:
        return Path(path)
    scheme, _, rest = url.partition("://")
    scheme = _ALIASES.get(scheme, scheme)
    parts = rest.rstrip("/").split("/")
    if odd := [part for part in parts if part in ("", ".", "..")]:
        raise UrlError(f"{url} has {odd[0] or '//'} in it, which no path here can have")
    _known.add(scheme)
    return _root().joinpath(scheme, *map(_short, parts))


_long: dict[str, str] = {}
"""Names that no file can have, by those that stand for them; signed URLs have such."""


def _short(name: str) -> str:
    if len(name.encode()) <= _LONGEST:
        return name
    short = name[:100] + hashlib.sha256(name.encode()).hexdigest()[:16]
    _long[short] = name
    return short


def url_of(path: Path) -> str | None:
    """Return the URL that a path is the twin of; None for a local path."""
    if not _known or not path.is_relative_to(_root()):
        return None
    scheme, *rest = path.relative_to(_root()).parts
    return f"{scheme}://{'/'.join(_long.get(name, name) for name in rest)}"


def with_urls(text: str) -> str:
    """Return a text with URLs in place of their twins."""
    if not _known:
        return text
    return re.sub(rf"{re.escape(str(_root()))}/([a-z0-9+.-]+)/", r"\1://", text)


class SparseCopy:
    """Fill the holes of a local file with the bytes of the remote file that it stands for.

    It goes on with the file that it made, also when another one has taken that one's path.
    """

    def __init__(self, path: Path, system: Any, name: str, size: int) -> None:
        self._path, self._system, self._name, self.size = path, system, name, size
        self._is_there = bytearray(-(-size // BLOCK))
        self._lock = threading.Lock()
        self._file = path.open("x+b")
        self._file.truncate(size)

    def fill(self, start: int, stop: int) -> None:
        """Fetch the bytes of a range that the local file has not yet."""
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
        if len(data) == self.size:  # from a server that knows no ranges
            data = data[begin:end]
        if len(data) != end - begin:
            raise SurgeryError(f"{url_of(self._path)} is cut short, or was changed")
        return data


def _runs(numbers: list[int]) -> Iterator[list[int]]:
    """Yield lists of numbers that follow one another."""
    for _, group in itertools.groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        yield [number for _, number in group]


_copies: dict[Path, SparseCopy] = {}
_versions: dict[Path, str] = {}


def sparse_copy(path: Path) -> SparseCopy | None:
    """Return what fills a file's holes; None for a file that has none."""
    return _copies.get(path) if _copies else None


def prepare(path: Path) -> None:
    """Make a model's twin here, of large files with holes; do nothing for a local path.

    Raises SurgeryError where there is nothing, or it cannot be had.
    """
    if url_of(path) is None or _is_prepared(path):
        return
    system, name = _system(path)
    facts = _facts(path)
    if facts is None:  # perhaps a checkpoint, which is named by what its files begin with
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
"""The files that a file of such a name tells of."""


def _belongs(file: str, name: str) -> bool:
    """Return whether it is a file of the checkpoint of that name."""
    prefix, own = name.rpartition("/")[2], file.rpartition("/")[2]
    rest = own.removeprefix(prefix)
    is_part = rest in (".index", ".meta") or bool(_SHARD.fullmatch(rest))
    return own.startswith(prefix) and is_part


def _known_files(path: Path) -> list[Path]:
    """Return the twins that are here of a file, a folder, or a checkpoint of that name."""
    return [
        each
        for each in _versions
        if each == path
        or path in each.parents
        or (each.parent == path.parent and _belongs(each.name, path.name))
    ]


def _is_prepared(path: Path) -> bool:
    """Return whether all of it is here, and has not changed since."""
    known = _known_files(path)
    return bool(known) and all(version(each) == _versions[each] for each in known)


def unchanged(path: Path) -> Callable[[], None]:
    """Return a check that the URL still has the versions of a path that are here now."""
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
    path.unlink(missing_ok=True)  # a model that was opened before goes on reading what it was
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
    """Return whether such a file may have holes, as all that read it have them filled."""
    if _SHARD.fullmatch(path.name):
        return True
    system, name = _system(path)
    head: bytes = _asked(path, lambda: system.cat_file(name, start=0, end=16))
    is_safetensors = head[8:9] == b"{" and int.from_bytes(head[:8], "little") < size
    return head.startswith(_HEADS) or is_safetensors


def download(path: Path) -> None:
    """Fetch all of a file or folder; do nothing for a local path."""
    if url_of(path) is None:
        return
    prepare(path)
    for each, known in list(_copies.items()):
        if each == path or path in each.parents:
            known.fill(0, known.size)


def version(path: Path) -> str | None:
    """Return the version that a remote file has now; None for a local one."""
    if url_of(path) is None or path not in _versions:
        return None
    facts = _facts(path)
    return "gone" if facts is None else _version(facts)


def version_there(path: Path) -> str | None:
    """Return the version of the file that a path is the twin of, which need not be here.

    None where there is no file of that name.
    """
    facts = _facts(path)
    return None if facts is None or facts["type"] == "directory" else _version(facts)


_TAGS = ("ETag", "etag", "md5Hash", "checksum", "blob_id", "mtime", "LastModified",
         "last_modified", "created")  # fmt: skip
"""Where file systems tell a file's version, the surest first."""


def _version(facts: Mapping[str, Any]) -> str:
    tag = next((str(facts[tag]) for tag in _TAGS if facts.get(tag)), "")
    return f"{facts.get('size')} {tag}"


def exists(path: Path) -> bool:
    """Return whether a path, or the URL that it is the twin of, is there."""
    if url_of(path) is None:
        return path.exists()
    return _facts(path) is not None


def upload(made: Path, path: Path) -> None:
    """Upload a finished file or folder to the URL that a path is the twin of.

    Each file is seen only when it is whole (object stores and fsspec see to that); of a folder
    the files at the top, which tell of the others, come last.
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
    """Return what a file system says of a file or folder now; None where there is none."""
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
    """Return the file system of a scheme, which the cloud's own settings configure."""
    try:
        import fsspec

        return fsspec.filesystem(scheme, use_listings_cache=False)
    except ImportError:
        extra = _EXTRAS.get(scheme, "http")
        raise SurgeryError(f'{scheme}:// needs more: pip install "tf-surgery[{extra}]"') from None
    except ValueError:
        raise SurgeryError(f"{scheme}:// is no scheme that fsspec knows") from None


def _system(path: Path) -> tuple[Any, str]:
    url = url_of(path)
    assert url is not None
    system = _opened(url.partition("://")[0])
    return system, str(system._strip_protocol(url))


def _asked(path: Path, ask: Callable[[], Result]) -> Result:
    """Return what a file system answers; raises SurgeryError with its message."""
    try:
        return ask()
    except SurgeryError:
        raise
    except Exception as error:  # each cloud's library has its own
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        if isinstance(error, FileNotFoundError):
            said = "no such file or folder"
        raise SurgeryError(f"{url_of(path)}: {said}") from error
