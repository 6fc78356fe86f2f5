"""Signing in, roles, and how the hub is put together.

Read by `hub/jupyterhub_config.py`, which only composes what stands here.
"""

from rpacs_hub.login.authenticator import OpenIDAuthenticator, OpenIDLoginHandler, logout_address
from rpacs_hub.login.errors import IdTokenError, LoginError, SigningKeysError
from rpacs_hub.login.gateway_service import gateway_service
from rpacs_hub.login.id_token import ASYMMETRIC_ALGORITHMS, IdTokenVerifier, SigningKeys
from rpacs_hub.login.idle_culler import idle_culler_service
from rpacs_hub.login.roles import SERVICE_NAME, roles
from rpacs_hub.login.settings import HubSettings

__all__ = [
    "ASYMMETRIC_ALGORITHMS",
    "SERVICE_NAME",
    "HubSettings",
    "IdTokenError",
    "IdTokenVerifier",
    "LoginError",
    "OpenIDAuthenticator",
    "OpenIDLoginHandler",
    "SigningKeys",
    "SigningKeysError",
    "gateway_service",
    "idle_culler_service",
    "logout_address",
    "roles",
]
