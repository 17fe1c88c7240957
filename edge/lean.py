"""Keeps out of the daemon's memory what libraries import and it may never use.

A module of ``LAZY`` is executed at the first use of a name in it. So paho may import TLS, and a
daemon without TLS does not have it.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
import threading
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any, Final

LAZY: Final = frozenset(
    {"ssl", "urllib.request", "importlib.metadata", "subprocess"}
    | {f"numpy.{name}" for name in ("ctypeslib", "fft", "ma", "polynomial", "random")}
    | {
        f"numpy.{core}._add_newdocs{what}"
        for core in ("core", "_core")
        for what in ("", "_scalars")
    }
)
"""Imported at once by paho, ai_edge_litert, tflite_runtime, and NumPy before version 2."""
_lock: Final = threading.RLock()


class _Module(ModuleType):
    """A module that has not been executed yet: only what every module has is there."""

    def __getattr__(self, name: str) -> Any:
        with _lock:
            loader = self.__dict__.pop("_loader", None)
            if loader is not None:  # else it is being executed, and imports itself
                try:
                    loader.exec_module(self)
                except BaseException:
                    self.__dict__["_loader"] = loader
                    raise
                self.__class__ = ModuleType  # type: ignore[assignment]
        if name in self.__dict__:
            return self.__dict__[name]
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Later(Loader):
    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["_loader"] = module.__loader__ = self._loader
        if module.__spec__:
            module.__spec__.loader = self._loader


class _Finder:
    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in LAZY:
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec and spec.loader:
            spec.loader = _Later(spec.loader)
        return spec


def begin() -> None:
    """From now on, import the modules of ``LAZY`` so, and hashlib without OpenSSL."""
    sys.meta_path.insert(0, _Finder())
    if "hashlib" not in sys.modules:
        sys.modules["_hashlib"] = None  # type: ignore[assignment]
        try:
            import hashlib  # noqa: F401  # with functions of its own, as where there is no OpenSSL
        finally:
            del sys.modules["_hashlib"]


def trim() -> None:
    """Give memory that malloc holds for nobody back to the system. Source: malloc_trim(3)."""
    with contextlib.suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).malloc_trim(0)
