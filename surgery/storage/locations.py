"""Where a file is: here, or behind a URL, for which a local copy stands."""

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
