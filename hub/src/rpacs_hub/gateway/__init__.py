"""The gateway: the only door to the images, as a service of JupyterHub."""

from rpacs_hub.gateway.app import Gateway, Services, serve
from rpacs_hub.gateway.auth import Authenticator, HubAuthenticator

__all__ = ["Authenticator", "Gateway", "HubAuthenticator", "Services", "serve"]
