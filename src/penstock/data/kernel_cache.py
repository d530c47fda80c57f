"""Where compiled kernels are kept: a cache to write, and one that came with the package.

    load   own cache  ─miss─►  the package's __pycache__, read only  ─miss─►  compile
    save   own cache: NUMBA_CACHE_DIR, else the package's __pycache__ if it can be written,
           else the user's cache directory; if none can be written, nowhere (with one warning)

numba alone ignores a cache that it may not write to, so a read-only installation, or one that
another user warmed, would compile everything again.

Invariants: an entry is used only if the hashes of its source file and of its helpers' files and
the CPU are the same (numba checks that).

Not here: what is compiled, and when (`penstock.data.kernel`).
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

log = logging.getLogger("penstock.data.kernel")


class _Shipped(InTreeCacheLocator):
    """The `__pycache__` beside the source, for reading."""

    def ensure_cache_path(self) -> None:
        path: str = self.get_cache_path()  # type: ignore[no-untyped-call]
        if not os.path.isdir(path):
            raise FileNotFoundError(path)


class _OwnImpl(CompileResultCacheImpl):
    _locator_classes = [  # noqa: RUF012 (declared as numba does)
        UserProvidedCacheLocator,
        InTreeCacheLocator,
        UserWideCacheLocator,
    ]


class _ShippedImpl(CompileResultCacheImpl):
    _locator_classes = [_Shipped]  # noqa: RUF012


class _Own(FunctionCache):
    _impl_class = _OwnImpl


class _ShippedCache(FunctionCache):
    _impl_class = _ShippedImpl


class NotCached(Exception):
    """Of a kernel that would have to be compiled and must not be."""


class KernelCache:
    """What a numba dispatcher asks of its cache, answered by two of them. Not `may_compile`: what
    is in neither raises NotCached."""

    def __init__(
        self,
        function: Callable[..., Any],
        helpers: Sequence[ModuleType] = (),
        *,
        may_compile: bool = True,
    ) -> None:
        self._may_compile = may_compile
        self._own = _cache_or_none(_Own, function, helpers)
        self._shipped = _cache_or_none(_ShippedCache, function, helpers)

    @property
    def cache_path(self) -> str | None:
        return None if self._own is None else self._own.cache_path

    def load_overload(self, signature: Any, target: Any) -> Any:
        for cache in (self._own, self._shipped):
            found = None if cache is None else cache.load_overload(signature, target)
            if found is not None:
                return found
        if not self._may_compile:
            raise NotCached
        return None

    def save_overload(self, signature: Any, compiled: Any) -> None:
        if self._own is None:
            _warn("no directory for them can be written")
            return
        try:
            self._own.save_overload(signature, compiled)
        except OSError as e:
            # a full disk must not stop a pipeline that has its kernel in memory
            _warn(str(e))


def _cache_or_none(
    kind: Callable[..., Any], function: Callable[..., Any], helpers: Sequence[ModuleType]
) -> Any:
    try:
        cache = kind(function)
    except RuntimeError as e:
        if "no locator available" not in str(e):
            raise
        return None
    if helpers:
        # numba stamps the function's own file only
        stamps = [hashlib.sha256(Path(h.__file__ or "").read_bytes()).hexdigest() for h in helpers]
        index = cache._cache_file
        index._source_stamp = (index._source_stamp, *stamps)
    return cache


@functools.cache
def _warn(reason: str) -> None:
    log.warning(
        "kernel_cache_unavailable: new kernels are compiled at each start: %s; "
        "set NUMBA_CACHE_DIR to a directory that can be written",
        reason,
    )
