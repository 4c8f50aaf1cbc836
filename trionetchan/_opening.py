"""What the `open_…` functions return: something for `async with`, that says so when it is used in another way."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Generic, NoReturn, TypeVar

__all__ = ["Opening"]

T = TypeVar("T")


class Opening(AbstractAsyncContextManager[T], Generic[T]):
    """The async context manager of `function`, to be entered once. What is never entered never starts.

    A name that is missing, `await` and a plain `with` raise an error that shows the right way.
    """

    def __init__(self, function: str, block: Callable[[], AsyncGenerator[T]]) -> None:
        self._function = function
        self._block = asynccontextmanager(block)
        self._entered: AbstractAsyncContextManager[T] | None = None

    def __repr__(self) -> str:
        return f"<{self._function}(): use {self._use}>"

    @property
    def _use(self) -> str:
        return f"`async with {self._function}(...) as {self._function.rpartition('_')[2]}:`"

    async def __aenter__(self) -> T:
        if self._entered is not None:
            raise RuntimeError(f"expected to be entered once, got a second time: call {self._function}() again")
        self._entered = self._block()
        return await self._entered.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._entered is not None
        return await self._entered.__aexit__(kind, error, traceback)

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        raise AttributeError(f"{self._function}() has no {name!r} yet: use {self._use}", name=name, obj=self)

    def __await__(self) -> NoReturn:
        raise TypeError(f"expected `async with`, got `await`: use {self._use}")

    def __enter__(self) -> NoReturn:
        raise TypeError(f"expected `async with`, got `with`: use {self._use}")

    def __exit__(self, *_: object) -> None:
        """`with` looks for it before it calls `__enter__`."""
