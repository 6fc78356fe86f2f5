"""What all widgets share: packaged scripts and styles, and questions from the page answered in Python.

The page asks by a custom message ``{"id", "do", "with"}`` and gets ``{"id", "value"}`` or ``{"id", "error"}``, with
binary buffers where there are pictures. Nothing that passes this way is stored in the notebook, so it is also the way
of credentials; what a reopened view needs to draw itself is kept in traits.

Answers are worked out in a few threads, so that a slow search does not hold up the scrolling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from importlib.resources import files
from typing import Any

import anywidget

from rpacs._errors import QueryError, ReasonRequired, RpacsError

__all__ = ["Panel", "error_words"]

_log = logging.getLogger(__name__)
_THREADS = 6


class Panel(anywidget.AnyWidget):
    """Base of the widgets.

    A subclass names its script and style (``class Viewer(Panel, script="viewer")`` takes ``static/viewer.js`` and
    ``viewer.css``) and returns from `actions` what the page may ask for.
    """

    def __init_subclass__(cls, *, script: str = "", **kwargs: Any) -> None:
        if script:
            # Modules are sent to the page as text, so they cannot import each other: the shared part goes in front.
            cls._esm = asset("common.js") + asset(f"{script}.js")
            cls._css = asset("common.css") + asset(f"{script}.css")
        super().__init_subclass__(**kwargs)

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(self._receive)

    def actions(self) -> dict[str, Callable[..., Any]]:
        """Return the questions that the page may ask, each a function of keyword arguments.

        Returns
        -------
        dict
            A function returns what can be JSON, or a pair of that and a list of buffers.
        """
        return {}

    def in_background(self, work: Callable[[], None]) -> Future[None]:
        """Run `work` in a thread; what goes wrong there is logged, not lost."""

        def run() -> None:
            try:
                work()
            except Exception:
                _log.exception("A widget's background work failed")
                raise

        return _pool().submit(run)

    def _receive(self, _: object, content: dict[str, Any], buffers: Sequence[memoryview]) -> None:
        del buffers
        action = self.actions().get(str(content.get("do")))
        if action is not None:
            _pool().submit(self._answer, content.get("id"), action, dict(content.get("with") or {}))

    def _answer(self, id: object, action: Callable[..., Any], arguments: dict[str, Any]) -> None:  # noqa: A002
        buffers: list[bytes] = []
        try:
            value = action(**arguments)
            if isinstance(value, tuple):
                value, buffers = value
        except RpacsError as error:
            self.send({"id": id, "error": error_words(error)})
        except Exception as error:  # noqa: BLE001 - the page must say something whatever happened
            # The type only: arguments may hold credentials, and messages may quote arguments.
            _log.error("A widget's action failed: %s", type(error).__name__)
            words = {"kind": "Internal", "message": "Something went wrong in the notebook's own code."}
            self.send({"id": id, "error": words | {"hint": f"Reload the page. ({type(error).__name__})"}})
        else:
            self.send({"id": id, "value": value}, buffers=buffers)


def error_words(error: RpacsError) -> dict[str, Any]:
    """Return an error as the page shows it.

    Parameters
    ----------
    error : RpacsError
        Any of them.

    Returns
    -------
    dict
        kind, message, hint and, for a query, position and caret.
    """
    words: dict[str, Any] = {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    if isinstance(error, ReasonRequired):
        words["hint"] = "Write it into “Reason for access” at the top of the page."
    if isinstance(error, QueryError):
        words |= {"position": error.position, "caret": error.caret() if error.query else ""}
    return words


@cache
def asset(name: str) -> str:
    """Return the text of a packaged script or style."""
    return files("rpacs.widgets").joinpath("static", name).read_text(encoding="utf-8")


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="rpacs-widgets")
