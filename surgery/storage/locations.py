"""Local paths and URLs, for which local copies stand; the other rooms use this, not `remote`."""

from surgery.storage.remote import (
    download,
    exists,
    prepare,
    resolve,
    unchanged,
    upload,
    url_in,
    url_of,
    version,
    version_there,
    with_urls,
)

__all__ = [
    "download",
    "exists",
    "prepare",
    "resolve",
    "unchanged",
    "upload",
    "url_in",
    "url_of",
    "version",
    "version_there",
    "with_urls",
]
