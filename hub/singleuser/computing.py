"""Server extension: a kernel that computes is activity, also when it prints nothing for hours."""

from datetime import UTC, datetime

from jupyter_server.serverapp import ServerApp
from tornado.ioloop import PeriodicCallback

EVERY = 1.0  # second; a look at a list in memory


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "computing"}]


def _load_jupyter_server_extension(app: ServerApp) -> None:
    def note() -> None:
        if any(kernel["execution_state"] == "busy" for kernel in app.kernel_manager.list_kernels()):
            app.web_app.settings["last_activity_times"]["computing"] = datetime.now(UTC)

    PeriodicCallback(note, EVERY * 1000).start()
