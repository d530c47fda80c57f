"""How kernels are compiled: numba, without the GIL, cached beside their source.

    @kernel("uint64[::1](…)")   compiled for exactly this signature, ahead of its first call by
    def f(…): …                 `python -m penstock.data.warm`, or at its first call

Kernels are declared lazily: importing a module costs nothing, the first call loads the compiled
code from the cache. `warm` walks `REGISTERED` and compiles what is not cached.

Where compiled code is kept: `penstock.data.kernel_cache`.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

log = logging.getLogger(__name__)

#: every kernel of the imported modules, by qualified name
REGISTERED: dict[str, Kernel] = {}
_compile_lock = threading.RLock()


class Kernel(functools.partial[Any]):
    """A numba function that compiles or loads itself at its first call.

    A `partial` of what is to be called, because calling through one costs 0.1 µs and calling
    through a method of ours costs 1.3, twice what numba itself takes; a step calls a hundred."""

    def __new__(cls, *_: Any, **__: Any) -> Kernel:
        return super().__new__(cls, _not_yet)

    def __init__(
        self,
        function: Callable[..., Any],
        signature: str,
        helpers: tuple[ModuleType, ...],
        options: dict[str, Any],
    ) -> None:
        self.function, self.signature, self.options = function, signature, options
        self.helpers = helpers
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.__doc__ = function.__doc__
        self._compiled: Callable[..., Any] | None = None
        self._calls(self._first_call)
        REGISTERED[self.name] = self

    def _first_call(self, *args: Any) -> Any:
        if not self.load():
            log.info("compiling_kernel: %s, which nobody compiled yet", self.name)
        return self.compile()(*args)

    def _calls(self, target: Callable[..., Any]) -> None:
        """Have calls go to `target`."""
        self.__setstate__((target, (), {}, self.__dict__))  # type: ignore[attr-defined]

    @property
    def dispatcher(self) -> Any:
        """The numba dispatcher, for kernels that call this one."""
        return self.compile()

    def compile(self) -> Callable[..., Any]:
        """Load from the cache or compile now; the same function ever after."""
        with _compile_lock:
            return self._compiled or self._make(may_compile=True)

    def load(self) -> bool:
        """Load from the cache; False if it is not there, and has to be compiled."""
        from penstock.data.kernel_cache import NotCached

        with _compile_lock:
            try:
                return bool(self._compiled or self._make(may_compile=False))
            except NotCached:
                return False

    @property
    def is_kept(self) -> bool:
        """Whether other processes find what this one compiles."""
        from penstock.data.kernel_cache import KernelCache

        return KernelCache(self.function, self.helpers).cache_path is not None

    def _make(self, *, may_compile: bool) -> Callable[..., Any]:
        import numba

        from penstock.data.kernel_cache import KernelCache

        options = {"nogil": True, "boundscheck": False, **self.options}
        dispatcher = numba.njit(**options)(self.function)
        dispatcher._cache = KernelCache(self.function, self.helpers, may_compile=may_compile)
        dispatcher.compile(self.signature)
        dispatcher.disable_compile()
        self._compiled = dispatcher
        self._calls(dispatcher)
        return self._compiled


def _not_yet(*_: Any) -> Any:
    raise AssertionError("a kernel that is not made yet")


def kernel(
    signature: str, *, helpers: tuple[ModuleType, ...] = (), **options: Any
) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel with its only signature (numba's spelling, arrays C-contiguous). `helpers`:
    the other modules whose functions are compiled into it."""

    def declare(function: Callable[..., Any]) -> Kernel:
        return Kernel(function, signature, helpers, options)

    return declare
