"""The gateway as a service that the hub starts and watches."""

from typing import Any

from rpacs_hub.login.roles import SERVICE_NAME
from rpacs_hub.login.settings import HubSettings

__all__ = ["gateway_service"]


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
            "RPACS_ADMIN_GROUP": settings.admin_group,
            "RPACS_URL": settings.gateway_public_url,
            **settings.gateway_environment,
        },
        # It is part of this product: asking "may the gateway know who you are?" would only puzzle people.
        "oauth_no_confirm": True,
        "display": False,
    }
    if settings.gateway_user:
        service["user"] = settings.gateway_user
    return service
