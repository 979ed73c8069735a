"""Zip archives whose uncompressed ("stored") members are read and written in place."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from surgery.errors import FormatError
from surgery.storage.checksums import CRC32, Pieces
from surgery.storage.descriptors import Descriptor, pread
from surgery.storage.disk import Window, write_at
from surgery.storage.temporary import new_file

MAGIC = b"PK\x03\x04"
EMPTY = b"PK\x05\x06"
_LARGEST_TEXT, _MOST_TEXT = 16 << 20, 128 << 20
"""The most bytes of one entry that is read whole, and of all such entries together."""
_LARGEST_UNPACKED, _MOST_UNPACKED = 64 << 20, 100
"""Bytes that any compressed entry may unpack to, plus this many times its compressed size."""
_DATE = 0x21  # 1980-01-01: the earliest a zip can say, so that the bytes do not depend on the day
_LIMIT32 = 0xFFFFFFFF
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)


class Archive:
    """A zip archive open for reading; raises FormatError if it is damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = Descriptor.open(path)
        try:
            self._archive = zipfile.ZipFile(io.BufferedReader(Window(self._descriptor)))
            entries = self._archive.infolist()
        except (*_UNREADABLE, ValueError, struct.error, UnicodeDecodeError) as error:
            raise FormatError(
                f"{path} is not a readable zip archive: {error}; if it is truncated, download or "
                "copy it again"
            ) from None
        self.members = {info.filename: info for info in entries}
        self._left = _MOST_TEXT
        self._check(entries)

    def _check(self, entries: Sequence[zipfile.ZipInfo]) -> None:
        """Raise FormatError for archives that different zip readers would read differently."""
        if len(self.members) < len(entries):
            raise FormatError(f"{self.path} has two entries of the same name")
        end, last = 0, ""
        for info in sorted(entries, key=lambda info: info.header_offset):
            parts = info.filename.replace("\\", "/").split("/")
            if ".." in parts or parts[0] == "" or re.match("[A-Za-z]:", parts[0]):
                raise FormatError(f"{self.path}: the entry {info.filename!r} has an unsafe path")
            if info.header_offset < end:
                raise FormatError(f"{self.path}: the entries {last} and {info.filename} overlap")
            if wrong := _odd(info):
                raise FormatError(f"{self.path}: the entry {info.filename} {wrong}")
            end, last = info.header_offset + 30 + info.compress_size, info.filename

    def read(self, name: str) -> bytes:
        """Return the bytes of a small member; raises FormatError if it is damaged or too large.

        At most the size in the archive's directory is unpacked.
        """
        info = self.members[name]
        most = min(_LARGEST_TEXT, self._left)
        try:
            with self._archive.open(info) as member:
                data = b"" if info.file_size > most else member.read(info.file_size)
        except _UNREADABLE as error:
            raise FormatError(f"{self.path}: {name} cannot be read: {error}") from None
        if len(data) < info.file_size:
            size = f"{info.file_size:,} bytes"
            what = (
                f"is too large to read ({size})"
                if info.file_size > most
                else f"is shorter than {size}"
            )
            raise FormatError(f"{self.path}: {name} {what}")
        self._left -= len(data)
        return data

    def place(self, name: str) -> tuple[Descriptor, int, int]:
        """Return (descriptor, offset of the first byte, size in bytes) for reading a member.

        A stored member is read from the archive itself; a compressed one is first unpacked into an
        unnamed temporary file.
        """
        info = self.members[name]
        if info.compress_type != zipfile.ZIP_STORED:
            return self._unpacked(name), 0, info.file_size
        descriptor = self._descriptor
        header = pread(descriptor, 30, info.header_offset)
        if len(header) < 30 or header[:4] != MAGIC:
            raise FormatError(f"{self.path}: the local header of {name} is damaged")
        name_size, extra_size = struct.unpack("<HH", header[26:30])
        start = info.header_offset + 30 + name_size + extra_size
        if pread(descriptor, name_size, info.header_offset + 30) != _encoded(info):
            raise FormatError(f"{self.path}: {name} has another name in its local header")
        if start + info.file_size > os.fstat(descriptor).st_size:
            raise FormatError(f"{self.path} is truncated: {name} does not fit in it")
        return descriptor, start, info.file_size

    def check(self, name: str, place: tuple[Descriptor, int, int]) -> ReadCheck | None:
        """Return a check of a stored member's CRC, fed while it is read; None if compressed.

        The CRC of a compressed member is checked when it is unpacked.
        """
        info = self.members[name]
        return (
            ReadCheck(self.path, info, place) if info.compress_type == zipfile.ZIP_STORED else None
        )

    def _unpacked(self, name: str) -> Descriptor:
        info = self.members[name]
        left = info.file_size
        if left > _LARGEST_UNPACKED + _MOST_UNPACKED * info.compress_size:
            raise FormatError(
                f"{self.path}: {name} would unpack to {left:,} bytes from {info.compress_size:,}"
            )
        try:
            with self._archive.open(name) as member, new_file() as file:
                while left > 0 and (block := member.read(min(left, 1 << 20))):
                    file.write(block)
                    left -= len(block)
                if left:
                    raise FormatError(f"{self.path}: {name} ends {left:,} bytes too early")
                file.flush()
                return Descriptor(os.dup(file.fileno()))
        except _UNREADABLE as error:
            raise FormatError(f"{self.path}: {name} cannot be unpacked: {error}") from None


def _odd(info: zipfile.ZipInfo) -> str:
    """Return what is wrong with an entry, to end a message with; empty if nothing is."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if info.flag_bits & 1:
        return "is encrypted"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link, or no file"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "is compressed by an unsupported method; pack the archive again with deflate"
    if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
        return "has two sizes"
    return ""


def _encoded(info: zipfile.ZipInfo) -> bytes:
    """Return an entry's name in the bytes that the archive has for it."""
    return info.orig_filename.encode("utf-8" if info.flag_bits & 0x800 else "cp437")


_SMALL = 1 << 24
"""The most bytes that are read only to check a CRC."""


class ReadCheck:
    """A check of a stored member's CRC, computed while the member is read."""

    def __init__(
        self, path: Path, info: zipfile.ZipInfo, place: tuple[Descriptor, int, int]
    ) -> None:
        self._path, self._info = path, info
        descriptor, self._start, self._size = place
        self._pieces = Pieces(descriptor, CRC32)
        self.seen = self._pieces.seen

    def __call__(self) -> None:
        """Raise FormatError if the CRC is wrong.

        Bytes not read so far are read now, but a large member that is mostly unread is not checked.
        """
        if self._pieces.done * 2 < self._size and self._size > _SMALL:
            return
        (crc,) = self._pieces.crcs([(self._start, self._start + self._size)])
        if crc != self._info.CRC:
            raise FormatError(
                f"{self._path} is damaged: the CRC of {self._info.filename} is not the one "
                "in the archive"
            )


class ArchiveWriter:
    """A writer of a zip archive: small members at once, large ones chunk by chunk in any order.

    `large` maps names to sizes in bytes; only the last size may be None (not yet known).
    """

    def __init__(
        self,
        descriptor: int,
        members: Mapping[str, bytes],
        large: Mapping[str, int | None],
    ) -> None:
        self._descriptor = descriptor
        self._entries: list[tuple[str, int, int, int]] = []
        self._pieces = Pieces(descriptor, CRC32)
        self.seen = self._pieces.seen
        offset = 0
        for name, data in members.items():
            header = _header(name, zlib.crc32(data), len(data))
            write_at(descriptor, header + data, offset)
            self._entries.append((name, zlib.crc32(data), len(data), offset))
            offset += len(header) + len(data)
        self._large: list[tuple[str, int, int | None]] = []
        self.starts: dict[str, int] = {}
        """The offset of the first byte of each large member."""
        for name, size in large.items():
            self._large.append((name, offset, size))
            self.starts[name] = offset + len(_header(name, 0, 0))
            offset = self.starts[name] + (size or 0)

    def finish(self) -> None:
        """Write the headers of the large members, and the archive's central directory."""
        length = os.fstat(self._descriptor).st_size
        ranges = [
            (self.starts[name], length if size is None else self.starts[name] + size)
            for name, _, size in self._large
        ]
        crcs = self._pieces.crcs(ranges)
        for (name, place, _), (start, end), crc in zip(self._large, ranges, crcs, strict=True):
            write_at(self._descriptor, _header(name, crc, end - start), place)
            self._entries.append((name, crc, end - start, place))
        end = max([length, *(end for _, end in ranges)])
        directory = b"".join(_directory_entry(*entry) for entry in self._entries)
        tail = directory + _directory_end(len(self._entries), len(directory), end)
        write_at(self._descriptor, tail, end)


def _header(name: str, crc: int, size: int) -> bytes:
    """Return a local file header.

    It always has 64-bit sizes, so that its length is known in advance.
    """
    encoded = name.encode()
    extra = struct.pack("<HHQQ", 1, 16, size, size)
    fields = (45, 0x800, 0, 0, _DATE, crc, _LIMIT32, _LIMIT32, len(encoded), len(extra))
    return MAGIC + struct.pack("<HHHHHIIIHH", *fields) + encoded + extra


def _directory_entry(name: str, crc: int, size: int, offset: int) -> bytes:
    encoded = name.encode()
    extra = struct.pack("<HHQQQ", 1, 24, size, size, offset)
    fields = (
        45, 45, 0x800, 0, 0, _DATE, crc, _LIMIT32, _LIMIT32, len(encoded), len(extra),
        0, 0, 0, 0o644 << 16, _LIMIT32,
    )  # fmt: skip
    return b"PK\x01\x02" + struct.pack("<HHHHHHIIIHHHHHII", *fields) + encoded + extra


def _directory_end(count: int, size: int, offset: int) -> bytes:
    end64 = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = b"PK\x06\x07" + struct.pack("<IQI", 0, offset + size, 1)
    end = b"PK\x05\x06" + struct.pack(
        "<HHHHIIH", 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), min(size, _LIMIT32), _LIMIT32, 0
    )
    return end64 + locator + end
