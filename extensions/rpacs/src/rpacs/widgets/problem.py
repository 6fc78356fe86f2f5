"""A message where a widget should be."""

from __future__ import annotations

import traitlets

from rpacs._errors import RpacsError
from rpacs.widgets._panel import Panel, error_words

__all__ = ["Problem"]


class Problem(Panel, script="problem"):
    """Shows an error in words, for pages whose readers see no code.

    Parameters
    ----------
    error : RpacsError
        What went wrong.
    """

    error = traitlets.Dict().tag(sync=True)

    def __init__(self, error: RpacsError) -> None:
        super().__init__(error=error_words(error))
