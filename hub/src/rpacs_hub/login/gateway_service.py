"""The gateway as a service that the hub starts and watches."""

from typing import Any

from rpacs_hub.login.roles import SERVICE_NAME
from rpacs_hub.login.settings import HubSettings

__all__ = ["ACTING_FOR_ADMINS", "MEMORY", "gateway_service"]

MEMORY = {"MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "262144"}
"""How the gateway's memory is given out, see mallopt(3): images that several threads fetch and draw would otherwise
leave holes that are never given back."""

ACTING_FOR_ADMINS = (
    "list:users",
    "read:users:name",
    "read:users:groups",
    "read:users:activity",
    "read:servers",
    "delete:servers",
    "delete:users",
)
"""What the gateway may do at the Hub for somebody who signed in to its pages, as far as she herself may: see who is
there and stop or remove it. Not among it: whatever would let it open a server, or make a token, of anybody's."""


def gateway_service(settings: HubSettings) -> dict[str, Any]:
    """Return the gateway's entry for `JupyterHub.services`.

    It runs as its own system user and gets its own settings only: neither the sign-in client's secret nor the key of
    the stored sessions.

    Parameters
    ----------
    settings : HubSettings
        The hub's settings.

    Returns
    -------
    dict
        The service.
    """
    service: dict[str, Any] = {
        "name": SERVICE_NAME,
        "url": f"http://127.0.0.1:{settings.gateway_port}",
        "command": [str(settings.programs / "rpacs-hub"), "gateway"],
        "cwd": "/",
        "environment": {
            **MEMORY,
            "RPACS_ADMIN_GROUP": settings.admin_group,
            "RPACS_URL": settings.gateway_public_url,
            **settings.gateway_environment,
        },
        # It is part of this product: asking "may the gateway know who you are?" would only puzzle people.
        "oauth_no_confirm": True,
        "oauth_client_allowed_scopes": list(ACTING_FOR_ADMINS),
        "display": False,
    }
    if settings.gateway_user:
        service["user"] = settings.gateway_user
    return service
