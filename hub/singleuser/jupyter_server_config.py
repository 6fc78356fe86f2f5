"""Configuration of every researcher's own server."""

c = get_config()  # noqa: F821

# Kernels that nobody has used for an hour end, also those behind a forgotten browser tab; a computation that runs is
# never ended. A server without kernels ends after four more hours. Files stay.
c.MappingKernelManager.cull_idle_timeout = 3600
c.MappingKernelManager.cull_interval = 120
c.MappingKernelManager.cull_connected = True
c.MappingKernelManager.cull_busy = False
c.ServerApp.shutdown_no_activity_timeout = 4 * 3600

# Nothing here asks an outside host.
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.extension_manager = "readonly"

c.ServerApp.jpserver_extensions = {"jupyterlab": True, "voila.server_extension": True}
c.VoilaConfiguration.template = "rpacs"
c.VoilaConfiguration.strip_sources = True
c.VoilaConfiguration.show_tracebacks = False
