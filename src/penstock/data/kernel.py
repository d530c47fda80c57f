"""How kernels are compiled: numba, without the GIL, cached beside their source.

    @kernel("uint64[::1](…)")   compiled for exactly this signature, ahead of its first call by
    def f(…): …                 `python -m penstock.data.warm`, or at its first call

Kernels are declared lazily: importing a module costs nothing, the first call loads the compiled
code from the cache. `warm` walks `REGISTERED` and compiles what is not cached.

Where compiled code is kept: `penstock.data.kernel_cache`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any

#: every kernel of the imported modules, by qualified name
REGISTERED: dict[str, Kernel] = {}
_compile_lock = threading.RLock()


class Kernel:
    """A numba function that compiles or loads itself at its first call."""

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
        REGISTERED[self.name] = self

    def __call__(self, *args: Any) -> Any:
        compiled = self._compiled
        if compiled is None:
            compiled = self.compile()
        return compiled(*args)

    @property
    def dispatcher(self) -> Any:
        """The numba dispatcher, for kernels that call this one."""
        return self.compile()

    def compile(self) -> Callable[..., Any]:
        """Load from the cache or compile now; the same function ever after."""
        import numba

        from penstock.data.kernel_cache import KernelCache

        with _compile_lock:
            if self._compiled is None:
                options = {"nogil": True, "boundscheck": False, **self.options}
                dispatcher = numba.njit(**options)(self.function)
                dispatcher._cache = KernelCache(self.function, self.helpers)
                dispatcher.compile(self.signature)
                dispatcher.disable_compile()
                self._compiled = dispatcher
            return self._compiled


def kernel(
    signature: str, *, helpers: tuple[ModuleType, ...] = (), **options: Any
) -> Callable[[Callable[..., Any]], Kernel]:
    """Declare a kernel with its only signature (numba's spelling, arrays C-contiguous). `helpers`:
    the other modules whose functions are compiled into it."""

    def declare(function: Callable[..., Any]) -> Kernel:
        return Kernel(function, signature, helpers, options)

    return declare
