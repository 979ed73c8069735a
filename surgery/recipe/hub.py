"""TF Hub's modules, found in its cache or downloaded into it, as tensorflow_hub does."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import urllib.parse
import urllib.request
from pathlib import Path

from surgery.errors import SurgeryError
from surgery.storage import tarfiles
from surgery.storage.temporary import new_file

_SECONDS = 30


def module_folder(handle: str) -> Path:
    """Return a module's folder in TF Hub's cache; raises SurgeryError if it is unavailable."""
    cache = os.environ.get("TFHUB_CACHE_DIR") or str(Path(tempfile.gettempdir()) / "tfhub_modules")
    folder = Path(cache).expanduser() / hashlib.sha1(handle.encode()).hexdigest()
    if not folder.is_dir():
        try:
            _download(handle, folder)
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise SurgeryError(
                f"{handle} is not in TF Hub's cache and cannot be downloaded ({reason}); put the "
                f"unpacked module into {folder}, or set TFHUB_CACHE_DIR to the cache that has it"
            ) from None
    return folder


def _download(handle: str, folder: Path) -> None:
    parts = urllib.parse.urlsplit(handle)
    if parts.scheme not in ("http", "https"):
        raise ValueError("a handle is a URL, such as https://tfhub.dev/google/nnlm-en-dim50/2")
    query = "&".join(filter(None, [parts.query, "tf-hub-format=compressed"]))
    url = urllib.parse.urlunsplit(parts._replace(query=query))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_file(".tar.gz") as file:
        with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
            shutil.copyfileobj(answer, file)
        file.flush()
        with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
            tarfiles.unpack(Path(file.name), Path(beside) / "module")
            os.rename(Path(beside) / "module", folder)
    Path(f"{folder}.descriptor.txt").write_text(f"Module: {handle}\n", encoding="utf-8")
