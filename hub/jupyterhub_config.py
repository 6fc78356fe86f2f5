"""JupyterHub configuration: puts together what stands in `rpacs_hub`. All settings come from the environment."""

from pathlib import Path

from rpacs_hub import containers
from rpacs_hub import spawner as spawners
from rpacs_hub.login import (
    HubSettings,
    OpenIDAuthenticator,
    gateway_service,
    idle_culler_service,
    logout_address,
    roles,
)
from rpacs_hub.workspace import BROWSE_PATH, in_words

c = get_config()  # noqa: F821
here = Path(__file__).resolve().parent
settings = HubSettings.from_environment()

# ---- addresses and state
settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
settings.state.chmod(0o700)
c.JupyterHub.bind_url = settings.bind_url
c.JupyterHub.public_url = settings.public_url
c.JupyterHub.hub_bind_url = f"http://{settings.hub_host}:{settings.hub_port}"
if settings.hub_api_url:
    c.JupyterHub.hub_connect_url = settings.hub_api_url
c.JupyterHub.db_url = f"sqlite:///{settings.state}/jupyterhub.sqlite"
c.JupyterHub.cookie_secret_file = str(settings.state / "cookie_secret")
c.ConfigurableHTTPProxy.command = settings.proxy_command
c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.proxy_api_port}"
c.ConfigurableHTTPProxy.pid_file = str(settings.state / "proxy.pid")

# ---- who may come in
c.JupyterHub.authenticator_class = OpenIDAuthenticator
c.OpenIDAuthenticator.issuer = settings.issuer
c.OpenIDAuthenticator.jwks_url = settings.jwks_url
c.OpenIDAuthenticator.authorize_url = settings.authorize_url
c.OpenIDAuthenticator.token_url = settings.token_url
c.OpenIDAuthenticator.client_id = settings.client_id
c.OpenIDAuthenticator.client_secret = settings.client_secret
c.OpenIDAuthenticator.oauth_callback_url = f"{settings.public_url}hub/oauth_callback"
c.OpenIDAuthenticator.logout_redirect_url = logout_address(
    settings.logout_url, settings.client_id, f"{settings.public_url}hub/login"
)
c.OpenIDAuthenticator.scope = ["openid", "email", "profile"]
c.OpenIDAuthenticator.userdata_from_id_token = True
c.OpenIDAuthenticator.username_claim = settings.username_claim
c.OpenIDAuthenticator.groups_claim = settings.groups_claim
c.OpenIDAuthenticator.require_nonce = settings.require_nonce
c.OpenIDAuthenticator.enable_pkce = True
c.OpenIDAuthenticator.validate_server_cert = True
c.OpenIDAuthenticator.http_request_kwargs = {"connect_timeout": 5, "request_timeout": 10}
c.OpenIDAuthenticator.manage_groups = True
c.OpenIDAuthenticator.allow_all = not settings.allowed_groups
if settings.allowed_groups:
    c.OpenIDAuthenticator.allowed_groups = {*settings.allowed_groups, settings.admin_group}
c.OpenIDAuthenticator.enable_auth_state = True  # encrypted with JUPYTERHUB_CRYPT_KEY
c.OpenIDAuthenticator.auth_refresh_age = settings.refresh_seconds
c.OpenIDAuthenticator.auth_refresh_strict = True  # disabled at the provider: the notebook's token stops working, too
c.OpenIDAuthenticator.login_service = "your institution's account"
c.OpenIDAuthenticator.custom_403_message = (
    "You are signed in, but your account is not in a group that may use Research PACS. "
    "Ask the administrators of Research PACS to add you, then sign in again."
)

# ---- what they may do, and the gateway
c.JupyterHub.load_roles = roles(settings.admin_group, culler=bool(settings.idle_seconds))
c.JupyterHub.services = [gateway_service(settings)]
if settings.idle_seconds:
    c.JupyterHub.services.append(idle_culler_service(settings))
# What counts as activity is what a server says of itself. The proxy would count the pulse of every connection, and a
# browser tab that somebody forgot would keep a server for ever.
c.JupyterHub.last_activity_interval = 0

# ---- their servers
c.Workspace.gateway_url = settings.gateway_public_url
c.Workspace.idle_seconds = settings.idle_seconds
if settings.containers is not None:
    c.JupyterHub.spawner_class = containers.spawner_class(settings.spawner)
    if settings.spawner == "docker":
        c.DockerSpawner.update(containers.docker_options(settings.containers))
    else:
        c.KubeSpawner.update(containers.kubernetes_options(settings.containers))
else:
    c.JupyterHub.spawner_class = (
        spawners.SystemUserSpawner if settings.spawner == "system-users" else spawners.SimpleSpawner
    )
    c.ResearchSpawner.homes = str(settings.homes)
    c.ResearchSpawner.notebooks = str(settings.notebooks)
    c.ResearchSpawner.jupyter_config = str(here / "singleuser")
    c.ResearchSpawner.mem_limit = settings.memory_mb * 2**20 or None
    c.ResearchSpawner.cpu_limit = settings.cpus or None
    c.ResearchSpawner.process_limit = settings.processes
    c.ResearchSpawner.open_files_limit = settings.open_files
    c.ResearchSpawner.nice = settings.nice
    c.ResearchSpawner.ip = "127.0.0.1"
    c.ResearchSpawner.term_timeout = 10
c.Spawner.start_timeout = 60 if settings.containers is None else 300  # an image may have to be fetched first
c.Spawner.http_timeout = 60
c.Spawner.consecutive_failure_limit = 0  # one person's broken home must not stop the hub for all

# ---- what they see
# The templates take the style sheet and the scripts of `static/` into the page: one request, and nothing gets stale.
c.JupyterHub.template_paths = [str(here / "templates"), str(here / "static")]
c.JupyterHub.template_vars = {
    "admin_group": settings.admin_group,
    "admin_url": f"{settings.gateway_public_url}admin/",
    "explorer_url": f"{settings.gateway_public_url}explorer",
    "browse_path": BROWSE_PATH,
    "idle_time": in_words(settings.idle_seconds),
}
c.JupyterHub.default_url = "/hub/home"  # people choose there; signing in must not start JupyterLab for them
c.JupyterHub.logo_file = str(here / "static" / "mark.svg")
c.JupyterHub.tornado_settings = {
    "cookie_options": {"secure": settings.public_url.startswith("https:")},
    "headers": {
        # No page of the hub loads anything from elsewhere; the browser sees to it.
        "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline'; "
        "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; object-src 'none'; "
        "base-uri 'self'; frame-ancestors 'none'; report-uri /hub/security/csp-report",
        "Referrer-Policy": "same-origin",
        "X-Content-Type-Options": "nosniff",
    },
}
