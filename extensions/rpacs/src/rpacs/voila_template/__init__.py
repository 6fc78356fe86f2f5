"""The Voila template ``rpacs``: a page with a header, no code, and no request to other hosts.

An install puts the template under ``share/jupyter/voila/templates/rpacs``, where Voila looks; a notebook picks it with
``"voila": {"template": "rpacs"}`` in its metadata. An editable install puts a copy there. To see edits of the template
without installing again, start the server with ``JUPYTER_PATH=$(python -m rpacs.voila_template)``, which goes first.
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
