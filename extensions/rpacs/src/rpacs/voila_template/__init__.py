"""The Voila template ``rpacs``: a page with a header, no code, and no request to other hosts.

An installed wheel puts the template under ``share/jupyter/voila/templates/rpacs``, where Voila looks. An editable
install copies no such data: there the server needs ``JUPYTER_PATH`` to hold what `jupyter_path` returns, as in
``JUPYTER_PATH=$(python -m rpacs.voila_template)``. Both may be true at once.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

__all__ = ["jupyter_path"]


def jupyter_path() -> Path:
    """Return the folder to add to ``JUPYTER_PATH``.

    Returns
    -------
    pathlib.Path
        It holds ``voila/templates/rpacs``.
    """
    return Path(str(files(__name__))) / "jupyter"
