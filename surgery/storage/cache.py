"""The cache folder; everything in it can be recomputed, so it may be deleted at any time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from surgery.storage.replacing import write_whole
from surgery.storage.states import files_in

STEPS = "steps"


def cache_folder() -> Path:
    """Return the system's folder for caches: `$XDG_CACHE_HOME/surgery` or `~/.cache/surgery`."""
    import platformdirs

    return platformdirs.user_cache_path("surgery", appauthor=False)


@dataclass(frozen=True)
class Cached:
    """A cached answer of Keras in a JSON file; `key` is the text of all that it depends on."""

    folder: str
    key: str
    title: str = ""

    @property
    def path(self) -> Path:
        """The path of the JSON file, named by a digest of the key."""
        digest = hashlib.blake2b(self.key.encode(), digest_size=16).hexdigest()
        return cache_folder() / self.folder / f"{self.title}{digest}.json"

    def read(self) -> Any:
        """Return the cached answer; None if it is missing, damaged, or for another key."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            if kept["key"] != self.key or kept["sha256"] != _sha256(kept["content"]):
                return None
            with contextlib.suppress(OSError):  # a read-only cache
                os.utime(self.path)
            return json.loads(kept["content"])
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return None

    def write(self, content: object) -> None:
        """Write the answer to the cache; a folder that is not writable is not an error."""
        text = json.dumps(content)
        kept = {"key": self.key, "sha256": _sha256(text), "content": text}
        path = self.path
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, json.dumps(kept).encode())


def by_config(folder: str, form: int, config: Mapping[str, Any]) -> Cached:
    """Return the cache entry for a Keras config; `form` is the version of the entry's layout.

    The key also has the versions of Keras and TensorFlow.
    """
    decisive = [form, metadata.version("keras"), metadata.version("tensorflow"), config]
    return Cached(folder, json.dumps(decisive, sort_keys=True))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def entries() -> list[tuple[Path, int, float]]:
    """Return (path, size in bytes, time of last use) of every cache entry, oldest use first."""
    found = []
    for path in _kept():
        with contextlib.suppress(FileNotFoundError):  # another process removes it
            size = sum(file.stat().st_size for file in files_in(path))
            found.append((path, size, path.stat().st_mtime))
    return sorted(found, key=lambda entry: entry[2])


def _kept() -> Iterator[Path]:
    for path in cache_folder().glob("*/*"):
        is_kept = path.is_dir() if path.parent.name == STEPS else path.suffix == ".json"
        if is_kept and not path.name.startswith("."):
            yield path


def prune(limit: int) -> int:
    """Remove the least recently used entries until at most `limit` bytes are left.

    Returns the number of bytes removed.
    """
    known = entries()
    total, removed = sum(size for _, size, _ in known), 0
    for path, size, _ in known:
        if total - removed <= limit:
            break
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        removed += size
    return removed
