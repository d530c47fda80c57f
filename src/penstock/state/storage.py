"""A directory of immutable, checksummed files: what operators remember, on disk.

    put(hint, arrays) ─► write tmp ─► fsync ─► rename ─► fsync directory ─► id
    get(id)           ─► map the file, check every byte, hand out arrays over the mapping

    file    "PENSTOCK" │ length, crc of the header │ header (JSON) │ array │ array │ …
    header  {"size": of the file, "arrays": [[name, dtype, shape, offset, crc], …]}

Arrays begin at multiples of 64 bytes and are mapped copy-on-write: a kernel may write to one (it
wants writable arrays), the file never changes, and the system may drop untouched pages.

A string view names its heap by an id that is good in this process only. So a column is stored
with its long strings gathered into heaps of its own, numbered from 0, and its views are pointed
at the new heaps when it is read (`column`); a file needs no other.

A crash leaves whole files and, at most, a `.tmp` that nobody reads and the next store removes.
Whoever owns the manifests that name the files removes those that none of them names, between two
checkpoints (a checkpoint under way has files that no manifest names yet).

Cost: `put` O(bytes) and two fsyncs; `get` one pass over the bytes (about 2 GB/s) to check them;
columns with long strings another over their views.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.heap import Heap
from penstock.data.types import SqlType
from penstock.data.views import compact, rename_heaps
from penstock.errors import StateCorrupt

MAGIC = b"PENSTOCK"
ALIGNMENT = 64
_TEMPORARY = ".tmp"
_SUFFIX = ".state"


class FileSystem:
    """The few calls that can fail half-way; tests put a failing one in between."""

    def write(self, path: Path, pieces: Iterable[memoryview]) -> None:
        """Create `path` with these bytes and fsync it."""
        with open(path, "xb", buffering=0) as f:
            for piece in pieces:
                done = 0
                while done < len(piece):
                    done += f.write(piece[done:])
            os.fsync(f.fileno())

    def rename(self, old: Path, new: Path) -> None:
        os.rename(old, new)

    def sync_directory(self, path: Path) -> None:
        at = os.open(path, os.O_RDONLY)
        try:
            os.fsync(at)
        finally:
            os.close(at)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


OS = FileSystem()


class StateStore:
    """See the module. `directory` is made if it is not there. Thread-safe."""

    def __init__(self, directory: Path, fs: FileSystem = OS) -> None:
        self.directory = directory
        self._fs = fs
        directory.mkdir(parents=True, exist_ok=True)
        for left in directory.glob(f"*{_TEMPORARY}"):
            fs.remove(left)

    def put(self, name_hint: str, arrays: Mapping[str, Array | Column]) -> str:
        """Store `arrays` durably; returns the file's id. Raises OSError where the disk does, and
        then there is no such file."""
        id = f"{name_hint}-{secrets.token_hex(8)}"
        path = self._path(id)
        temporary = path.with_suffix(_TEMPORARY)
        try:
            self._fs.write(temporary, _pieces(_plain(arrays)))
            self._fs.rename(temporary, path)
            self._fs.sync_directory(self.directory)
        except OSError:
            self._fs.remove(temporary)
            self._fs.remove(path)
            raise
        return id

    def get(self, file_id: str) -> Mapping[str, Array]:
        """The arrays of a file, mapped. Raises StateCorrupt if it is not what `put` wrote."""
        path = self._path(file_id)
        try:
            with open(path, "rb") as f:
                data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError) as e:  # ValueError: an empty file cannot be mapped
            raise StateCorrupt(f"the state file {path} cannot be read: {e}", file=file_id) from e
        try:
            return _read(data)
        except (ValueError, KeyError, TypeError) as e:
            raise StateCorrupt(
                f"the state file {path} is damaged: {e}; restore from an older checkpoint",
                file=file_id,
            ) from e

    def has(self, file_id: str) -> bool:
        return self._path(file_id).exists()

    def files(self) -> set[str]:
        """The ids of all files."""
        return {p.name.removesuffix(_SUFFIX) for p in self.directory.glob(f"*{_SUFFIX}")}

    def remove(self, ids: set[str]) -> None:
        """Remove files for good; ids without a file are passed over."""
        for id in ids:
            self._fs.remove(self._path(id))
        self._fs.sync_directory(self.directory)

    def size(self, file_id: str) -> int:
        """Bytes of a file."""
        return self._path(file_id).stat().st_size

    def _path(self, id: str) -> Path:
        return self.directory / f"{id}{_SUFFIX}"


def file_reference(id: str) -> dict[str, str]:
    """How a manifest names a file."""
    return {"file": id}


def referenced_files(manifest: Any) -> set[str]:
    """The ids of all files that a manifest (any JSON value) names."""
    if isinstance(manifest, Mapping):
        if manifest.keys() == {"file"}:
            return {manifest["file"]}
        return referenced_files(list(manifest.values()))
    if isinstance(manifest, list):
        return {id for item in manifest for id in referenced_files(item)}
    return set()


def column(arrays: Mapping[str, Array], name: str, type: SqlType) -> Column:
    """The column that was put as `name`."""
    values, valid = arrays[name], arrays.get(f"{name}.valid")
    heaps: list[Heap] = []
    while f"{name}.heap{len(heaps)}" in arrays:
        heaps.append(Heap(arrays[f"{name}.heap{len(heaps)}"]))
    if heaps:
        rename_heaps(values, np.array([h.id for h in heaps], np.int64))
    return Column(type, values, valid, tuple(heaps))


def _plain(arrays: Mapping[str, Array | Column]) -> Iterator[tuple[str, Array]]:
    """Columns as the arrays that make them up."""
    for name, array in arrays.items():
        if not isinstance(array, Column):
            yield name, np.ascontiguousarray(array)
            continue
        values = np.ascontiguousarray(array.values)
        heaps: tuple[Heap, ...] = ()
        if array.heaps:
            values, heaps = compact(values)
        if heaps:
            numbers = np.zeros(max(h.id for h in heaps) + 1, np.int64)
            for number, heap in enumerate(heaps):
                numbers[heap.id] = number
            rename_heaps(values, numbers)
        yield name, values
        if array.valid is not None:
            yield f"{name}.valid", np.ascontiguousarray(array.valid)
        for number, heap in enumerate(heaps):
            yield f"{name}.heap{number}", heap.data


def _pieces(arrays: Iterator[tuple[str, Array]]) -> Iterator[memoryview]:
    """The bytes of a file, in order."""
    entries: list[list[Any]] = []
    bodies: list[memoryview] = []
    at = 0
    for name, array in arrays:
        body = _bytes(array)
        # offsets count from the first array, so that the header's length does not matter
        entries.append([name, array.dtype.str, list(array.shape), at, zlib.crc32(body)])
        padding = -len(body) % ALIGNMENT
        bodies += [body, memoryview(bytes(padding))]
        at += len(body) + padding
    header = json.dumps({"arrays": entries, "size": at}).encode()
    head = MAGIC + len(header).to_bytes(4, "little") + zlib.crc32(header).to_bytes(4, "little")
    yield memoryview(head + header + bytes(-len(head + header) % ALIGNMENT))
    yield from bodies


def _bytes(array: Array) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)


def _read(data: mmap.mmap) -> Mapping[str, Array]:
    """The arrays in `data`. Raises ValueError where a byte is not what was written."""
    start = len(MAGIC) + 8
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("it does not begin like a state file")
    length = int.from_bytes(data[start - 8 : start - 4], "little")
    header = data[start : start + length]
    if zlib.crc32(header) != int.from_bytes(data[start - 4 : start], "little"):
        raise ValueError("the checksum of its header differs")
    described: Mapping[str, Any] = json.loads(header)
    start = -(-(start + length) // ALIGNMENT) * ALIGNMENT
    if len(data) != start + described["size"]:
        raise ValueError(f"it has {len(data)} bytes instead of {start + described['size']}")
    return {name: _array(data, start, entry) for name, *entry in described["arrays"]}


def _array(data: mmap.mmap, start: int, entry: Sequence[Any]) -> Array:
    dtype, shape, at, crc = np.dtype(entry[0]), tuple(entry[1]), start + entry[2], entry[3]
    count = int(np.prod(shape, dtype=np.int64))
    array = np.frombuffer(data, dtype, count, at).reshape(shape)
    if zlib.crc32(_bytes(array)) != crc:
        raise ValueError("the checksum of its contents differs")
    return array
