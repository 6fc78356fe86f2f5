"""Configuration of every researcher's own server."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

c = get_config()  # noqa: F821

# Kernels that nobody has used for an hour end, also those behind a forgotten browser tab; a computation that runs is
# never ended. The hub stops a server that nobody uses.
c.MappingKernelManager.cull_idle_timeout = 3600
c.MappingKernelManager.cull_interval = 120
c.MappingKernelManager.cull_connected = True
c.MappingKernelManager.cull_busy = False

# A kernel publishes its output on a TCP port of the machine, which every other user here could listen to: encrypt it.
# A kernel that cannot (not ipykernel 7 or later) is not started.
c.KernelManager.transport_encryption = "required"

# Nothing here asks an outside host.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

# `computing` lies beside this file.
sys.path.append(str(Path(__file__).resolve().parent))
c.ServerApp.jpserver_extensions = {"jupyterlab": True, "voila.server_extension": True, "computing": True}
# The template of the package `rpacs`; Voila's own would load fonts from other hosts. A wheel puts it where Voila looks,
# an editable install does not. The package is not imported for this: that would take a second at every start.
package = find_spec("rpacs")
if package is not None and package.origin is not None:
    templates = Path(package.origin).parent / "voila_template" / "jupyter"
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [str(templates), os.environ.get("JUPYTER_PATH")]))
c.VoilaConfiguration.template = "rpacs"
c.VoilaConfiguration.strip_sources = True
c.VoilaConfiguration.show_tracebacks = False
