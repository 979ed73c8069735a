"""Zip archives whose members are stored, read and written in place."""

from __future__ import annotations

import os
import struct
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from surgery.errors import FormatError
from surgery.formats._crc32 import join
from surgery.formats._files import write_at
from surgery.weights.tensor import Descriptor

MAGIC = b"PK\x03\x04"
_LARGEST_TEXT = 100 << 20
_DATE = 0x21  # 1980-01-01: the earliest a zip can say, so that the bytes do not depend on the day
_LIMIT32 = 0xFFFFFFFF
# zipfile raises the last two for encrypted entries and unknown compressions.
_UNREADABLE = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)


class Archive:
    """A zip archive to read; raises FormatError where it is broken."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                self.members = {info.filename: info for info in archive.infolist()}
        except (*_UNREADABLE, ValueError) as error:
            raise FormatError(f"{path} is not a readable zip archive: {error}") from None

    def read(self, name: str) -> bytes:
        """A small member, whole."""
        info = self.members[name]
        if info.file_size > _LARGEST_TEXT:
            raise FormatError(f"{self.path}: {name} is absurdly large ({info.file_size} bytes)")
        try:
            with zipfile.ZipFile(self.path) as archive:
                return archive.read(name)
        except _UNREADABLE as error:
            raise FormatError(f"{self.path}: {name} cannot be read: {error}") from None

    def place(self, name: str) -> tuple[Descriptor, int, int]:
        """A descriptor to read a member by, with its first byte and its size.

        It lies in the archive itself where it is stored; a compressed one is unpacked into
        a temporary file without a name first.
        """
        info = self.members[name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            return self._unpacked(name), 0, info.file_size
        descriptor = Descriptor.open(self.path)
        header = os.pread(descriptor, 30, info.header_offset)
        if len(header) < 30 or header[:4] != MAGIC:
            raise FormatError(f"{self.path}: the entry of {name} is broken")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + info.file_size > os.fstat(descriptor).st_size:
            raise FormatError(f"{self.path} is cut short: {name} does not fit in it")
        return descriptor, start, info.file_size

    def _unpacked(self, name: str) -> Descriptor:
        left = self.members[name].file_size
        try:
            with (
                zipfile.ZipFile(self.path) as archive,
                archive.open(name) as member,
                tempfile.TemporaryFile(prefix="surgery-") as file,
            ):
                while left > 0 and (block := member.read(min(left, 1 << 20))):
                    file.write(block)
                    left -= len(block)
                file.flush()
                return Descriptor(os.dup(file.fileno()))
        except _UNREADABLE as error:
            raise FormatError(f"{self.path}: {name} cannot be unpacked: {error}") from None


class ArchiveWriter:
    """A zip archive being written: small members first, then one large one, in place."""

    def __init__(self, descriptor: int, members: Mapping[str, bytes], large: str) -> None:
        self._descriptor = descriptor
        self._entries: list[tuple[str, int, int, int]] = []
        self._lock = threading.Lock()
        self._pieces: list[tuple[int, int, int]] = []
        offset = 0
        for name, data in members.items():
            write_at(descriptor, _header(name, zlib.crc32(data), len(data)) + data, offset)
            self._entries.append((name, zlib.crc32(data), len(data), offset))
            offset += len(_header(name, 0, 0)) + len(data)
        self._large = large
        self._large_header = offset
        self.start = offset + len(_header(large, 0, 0))
        """Where the large member's first byte belongs."""

    def seen(self, offset: int, data: memoryview) -> None:
        """Note a chunk of the large member that has been written at that offset."""
        piece = (offset, len(data), zlib.crc32(data))
        with self._lock:
            self._pieces.append(piece)

    def finish(self) -> None:
        """Write the large member's header and the archive's directory."""
        size = os.fstat(self._descriptor).st_size - self.start
        crc = self._crc(size)
        write_at(self._descriptor, _header(self._large, crc, size), self._large_header)
        self._entries.append((self._large, crc, size, self._large_header))
        directory = b"".join(_directory_entry(*entry) for entry in self._entries)
        end = self.start + size
        tail = directory + _directory_end(len(self._entries), len(directory), end)
        write_at(self._descriptor, tail, end)

    def _crc(self, size: int) -> int:
        """The large member's: noted chunks, and what lies between them read back."""
        crc, done = 0, self.start
        end = self.start + size
        for offset, length, piece in [*sorted(self._pieces), (end, 0, 0)]:
            while done < offset:
                between = os.pread(self._descriptor, min(offset - done, 1 << 20), done)
                if not between:
                    raise OSError("the file being written became shorter")
                crc = zlib.crc32(between, crc)
                done += len(between)
            crc = join(crc, piece, length)
            done += length
        return crc


def _header(name: str, crc: int, size: int) -> bytes:
    """A local header; always with the 64-bit sizes, so that its length is known beforehand."""
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
