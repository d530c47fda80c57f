"""A directory of immutable, checksummed files: what operators remember, on disk.

    put(hint, arrays) ─► write tmp ─► fsync ─► rename ─► fsync directory ─► id
    get(id)           ─► map the file, check every byte, hand out arrays over the mapping

    file    "PENSTOCK" │ place, length, crc of the header │ array │ array │ … │ header (JSON)
    header  [[name, dtype, shape, offset, crc], …]

Arrays begin at multiples of 64 bytes and are mapped copy-on-write: a kernel may write to one (it
wants writable arrays), the file never changes, and the system may drop untouched pages.

A column is stored with its long strings gathered into heaps of its own, so a file needs no other.
Its views name those heaps by ids that the reading process most likely has free (see
`penstock.data.heap`); if not, `column` renames them in memory.

A crash leaves whole files and, at most, a `.tmp` that nobody reads and the next store removes.
Whoever owns the manifests that name the files removes those that none of them names, between two
checkpoints (a checkpoint under way has files that no manifest names yet).

Cost: `put` O(bytes) and two fsyncs; `get` one pass over the bytes (about 2 GB/s) to check them;
another over the views of a column whose heap ids are taken.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import secrets
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from penstock.data.batch import Array, Column
from penstock.data.heap import Heap, new_file_id
from penstock.data.types import SqlType
from penstock.data.views import compact, rename_heaps
from penstock.errors import StateCorrupt

T = TypeVar("T")
MAGIC = b"PENSTOCK"
ALIGNMENT = 64
_TEMPORARY = ".tmp"
_SUFFIX = ".state"
#: place, length and crc of the header, after the magic
_HEAD = struct.Struct("<QII")


class FileSystem:
    """The few calls that can fail half-way; tests put a failing one in between."""

    def write(self, path: Path, pieces: Iterable[tuple[int, memoryview]]) -> None:
        """Create `path` with these bytes at these offsets and fsync it."""
        with open(path, "xb", buffering=0) as f:
            for at, piece in pieces:
                done = 0
                while done < len(piece):
                    done += os.pwrite(f.fileno(), piece[done:], at + done)
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
        return self._put(name_hint, {}, one_by_one(arrays), lambda _: None)[0]

    def put_mapped(
        self, name_hint: str, room: Mapping[str, Array], pieces: Iterable[Mapping[str, Array]]
    ) -> tuple[str, Mapping[str, Array]]:
        """Store arrays that come in pieces, so that they never are in memory as a whole, and map
        them as `get` does, before anybody can remove the file.

        Pieces of the arrays named in `room` are put one after the other; together they are at
        most as long as the array there (only its shape and dtype matter: `np.broadcast_to` makes
        one that takes no memory). All others come whole."""
        return self._put(name_hint, room, pieces, _mapped)

    def _put(
        self,
        name_hint: str,
        room: Mapping[str, Array],
        pieces: Iterable[Mapping[str, Array]],
        read: Callable[[Path], T],
    ) -> tuple[str, T]:
        id = f"{name_hint}-{secrets.token_hex(8)}"
        path = self._path(id)
        temporary = path.with_suffix(_TEMPORARY)
        try:
            self._fs.write(temporary, _layout(room, pieces))
            found = read(temporary)
            self._fs.rename(temporary, path)
            self._fs.sync_directory(self.directory)
        except OSError:
            self._fs.remove(temporary)
            self._fs.remove(path)
            raise
        return id, found

    def get(self, file_id: str) -> Mapping[str, Array]:
        """The arrays of a file, mapped. Raises StateCorrupt if it is not what `put` wrote."""
        path = self._path(file_id)
        try:
            return _mapped(path)
        except OSError as e:
            raise StateCorrupt(f"the state file {path} cannot be read: {e}", file=file_id) from e
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
    values, prefix = arrays[name], f"{name}.heap"
    names = [int(n.removeprefix(prefix)) for n in arrays if n.startswith(prefix)]
    heaps = tuple(Heap(arrays[f"{prefix}{id}"], id) for id in names)
    if any(h.id != id for h, id in zip(heaps, names, strict=True)):
        _rename(values, names, [h.id for h in heaps])
    return Column(type, values, arrays.get(f"{name}.valid"), heaps)


def one_by_one(arrays: Mapping[str, Array | Column]) -> Iterator[dict[str, Array]]:
    """`arrays` as pieces of one array, so that strings are gathered for one column at a time."""
    return ({name: array} for name, array in plain(arrays))


def plain(
    arrays: Mapping[str, Array | Column], taken: set[int] | None = None
) -> Iterator[tuple[str, Array]]:
    """Columns as the arrays that are stored of them. `taken`: ids of heaps that the file has
    already; those of these are added."""
    taken = set() if taken is None else taken
    for name, array in arrays.items():
        if not isinstance(array, Column):
            yield name, np.ascontiguousarray(array)
            continue
        values = np.ascontiguousarray(array.values)
        heaps: tuple[Heap, ...] = ()
        if array.heaps:
            values, heaps = compact(values)
        ids = [_fresh_id(taken) for _ in heaps]
        if heaps:
            _rename(values, [h.id for h in heaps], ids)
        yield name, values
        if array.valid is not None:
            yield f"{name}.valid", np.ascontiguousarray(array.valid)
        for id, heap in zip(ids, heaps, strict=True):
            yield f"{name}.heap{id}", heap.data


def _fresh_id(taken: set[int]) -> int:
    while (id := new_file_id()) in taken:
        pass
    taken.add(id)
    return id


def _rename(views: Array, old: Sequence[int], new: Sequence[int]) -> None:
    # the system backs only the touched pages
    names = np.zeros(max(old) + 1, np.int64)
    names[old] = new
    rename_heaps(views, names)


def _layout(
    room: Mapping[str, Array], pieces: Iterable[Mapping[str, Array]]
) -> Iterator[tuple[int, memoryview]]:
    """The bytes of a file and where they go; the head comes last."""
    entries: dict[str, list[Any]] = {}
    end = ALIGNMENT
    for name, array in room.items():
        entries[name] = [array.dtype.str, [0, *array.shape[1:]], end, 0]
        end += _aligned(array.nbytes)
    for piece in pieces:
        for name, array in piece.items():
            body = _bytes(array)
            if name not in room:
                assert name not in entries, f"{name} comes twice"
                entries[name] = [array.dtype.str, list(array.shape), end, zlib.crc32(body)]
                yield end, body
                end += _aligned(array.nbytes)
                continue
            entry = entries[name]
            assert entry[1][0] + len(array) <= len(room[name]), f"no room for {name}"
            row_bytes = room[name].itemsize * math.prod(entry[1][1:])
            yield entry[2] + entry[1][0] * row_bytes, body
            entry[1][0] += len(array)
            entry[3] = zlib.crc32(body, entry[3])
    header = json.dumps([[n, *e] for n, e in entries.items()]).encode()
    yield end, memoryview(header)
    yield 0, memoryview(MAGIC + _HEAD.pack(end, len(header), zlib.crc32(header)))


def _bytes(array: Array) -> memoryview:
    return memoryview(array.reshape(-1).view(np.uint8).data)


def _aligned(bytes: int) -> int:
    return -(-bytes // ALIGNMENT) * ALIGNMENT


def _mapped(path: Path) -> Mapping[str, Array]:
    """The arrays of a file. Raises OSError, ValueError where a byte is not what was written."""
    with open(path, "rb") as f:
        # an empty file cannot be mapped, which is a ValueError
        data = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_COPY)
    if data[: len(MAGIC)] != MAGIC or len(data) < ALIGNMENT:
        raise ValueError("it does not begin like a state file")
    at, length, crc = _HEAD.unpack_from(data, len(MAGIC))
    if len(data) != at + length:
        raise ValueError(f"it has {len(data)} bytes instead of {at + length}")
    header = data[at:]
    if zlib.crc32(header) != crc:
        raise ValueError("the checksum of its header differs")
    return {name: _array(data, *entry) for name, *entry in json.loads(header)}


def _array(data: mmap.mmap, dtype: str, shape: Sequence[int], at: int, crc: int) -> Array:
    array = np.frombuffer(data, np.dtype(dtype), math.prod(shape), at).reshape(shape)
    if zlib.crc32(_bytes(array)) != crc:
        raise ValueError("the checksum of its contents differs")
    return array
