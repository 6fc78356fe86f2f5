"""Who may do what on the hub, as JupyterHub roles."""

from typing import Any

__all__ = ["CULLER_NAME", "SERVICE_NAME", "roles"]

SERVICE_NAME = "pacs"
"""Name of the gateway as a hub service; its address ends in `/services/pacs/`."""

CULLER_NAME = "idle-culler"
"""Name of the hub service that stops servers which nobody uses."""


def roles(admin_group: str, *, culler: bool = False) -> list[dict[str, Any]]:
    """Return the roles for `JupyterHub.load_roles`.

    Parameters
    ----------
    admin_group : str
        Group whose members are administrators.
    culler : bool
        Whether there is a service that stops idle servers.

    Returns
    -------
    list of dict
        ``server``: what a notebook's own token may do: report activity, open its own server, open the gateway, and
        tell the gateway whose it is. It can list nobody, start nothing, and make no further token.
        ``user``: themselves, and the gateway.
        ``gateway``: the gateway's own token tells it in which groups the owner of a personal viewer address is.
        ``idle-culler``: see which servers run and since when nobody used them, and stop them.
        ``pacs-admin``: see who is there, stop servers and remove users.

    Notes
    -----
    Administrators do not get JupyterHub's own `admin` flag. It would let them open a researcher's server, make tokens
    in their name and read their stored session: everything that they did there would stand in the audit under the
    researcher's name. Nor do they get JupyterHub's own page for administrators (`admin-ui`): what is done there leaves
    no line in the audit. The gateway's pages do all of it and write it down.
    """
    gateway = f"access:services!service={SERVICE_NAME}"
    idle = {
        "name": "idle-culler",
        "description": "Stops servers that nobody uses: sees names, servers and times, starts and opens none",
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
        "services": [CULLER_NAME],
    }
    return [
        *([idle] if culler else []),
        {
            "name": "server",
            "description": "A notebook's own token: the gateway, and nothing more",
            "scopes": [
                "users:activity!user",
                "access:servers!server",
                gateway,
                "read:users:name!user",
                "read:users:groups!user",
            ],
        },
        {"name": "user", "description": "A signed-in person", "scopes": ["self", gateway]},
        {
            "name": "gateway",
            "description": "The gateway itself: who is in which group, for personal viewer addresses",
            "scopes": ["read:users:name", "read:users:groups"],
            "services": [SERVICE_NAME],
        },
        {
            "name": "pacs-admin",
            "description": "Administrators of the research PACS: see everybody, act as nobody",
            "scopes": [
                "list:users",
                "read:users",
                "delete:users",
                "read:servers",
                "delete:servers",
                "list:groups",
                "read:groups",
                "list:services",
                "read:services",
                "read:hub",
            ],
            "groups": [admin_group],
        },
    ]
