"""Researchers' servers as Docker containers or Kubernetes pods: what they get, composed in one place.

The libraries are extras of this distribution: ``rpacs-hub[docker]`` and ``rpacs-hub[kubernetes]``.
"""

import importlib
from dataclasses import dataclass
from typing import Any

from rpacs_hub.errors import SettingsError
from rpacs_hub.workspace import PAGES_LINK, Workspace

__all__ = ["ContainerSettings", "docker_options", "kubernetes_options", "spawner_class"]

_HOME = "/home/researcher"
_USER = 1000  # in the image; any number but 0 would do
_PAGES = "/usr/share/research-pacs/notebooks"  # in the image

# The home is a volume of the person's own, so the link to the image's pages is made there, at each start.
_COMMAND = [
    "/bin/sh",
    "-c",
    f'umask 077; [ -e "$HOME/{PAGES_LINK}" ] || ln -sfn {_PAGES} "$HOME/{PAGES_LINK}"; exec jupyterhub-singleuser "$@"',
    "workspace",
]


@dataclass(frozen=True, kw_only=True)
class ContainerSettings:
    """What both kinds of containers are made from.

    Attributes
    ----------
    image : str
        Image with `jupyterhub-singleuser`, the packages of this product, and its pages.
    memory : int
        Bytes of memory of one server, with all that runs in it; 0: no limit.
    cpus : float
        Processors of one server; 0: no limit.
    processes : int
        Processes and threads of one server; 0: no limit. Kubernetes has no setting of a pod's own for this: there it is
        the kubelet's.
    open_files : int
        Open files of one process (Docker); 0: no limit.
    network : str
        Docker network of the servers; the hub's machine must be reachable from it.
    namespace : str
        Kubernetes namespace of the servers.
    storage_class : str
        Kubernetes storage class of the homes; empty: the cluster's default.
    storage_gb : int
        GiB of a home on Kubernetes.
    """

    image: str
    memory: int = 0
    cpus: float = 0.0
    processes: int = 0
    open_files: int = 0
    network: str = ""
    namespace: str = ""
    storage_class: str = ""
    storage_gb: int = 10


def _common(settings: ContainerSettings) -> dict[str, Any]:
    return {
        "image": settings.image,
        "cmd": _COMMAND,
        "env_keep": [],  # of the hub's own environment, which holds secrets: nothing
        "environment": {"HOME": _HOME, "LANG": "C.UTF-8"},
        "mem_limit": settings.memory or None,
        "cpu_limit": settings.cpus or None,
    }


def docker_options(settings: ContainerSettings) -> dict[str, Any]:
    """Return the options of `dockerspawner.DockerSpawner`.

    Parameters
    ----------
    settings : ContainerSettings
        `network` must be set.

    Returns
    -------
    dict
        Traits and their values. A container runs as an ordinary user without any capability, can gain none, has a
        volume of its person's own as home, and is removed when it stops.
    """
    host: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true"],
        "init": True,
        "ulimits": [{"Name": "core", "Soft": 0, "Hard": 0}],
    }
    if settings.memory:
        host["memswap_limit"] = settings.memory  # memory and swap together: no swap
    if settings.processes:
        host["pids_limit"] = settings.processes
    if settings.open_files:
        host["ulimits"].append({"Name": "nofile", "Soft": settings.open_files, "Hard": settings.open_files})
    return {
        **_common(settings),
        "network_name": settings.network,
        "use_internal_ip": True,  # no port of the machine is opened for a server
        "prefix": "rpacs",
        "remove": True,
        "volumes": {"rpacs-home-{username}": _HOME},
        "extra_create_kwargs": {"user": f"{_USER}:{_USER}", "working_dir": _HOME},
        "extra_host_config": host,
    }


def kubernetes_options(settings: ContainerSettings) -> dict[str, Any]:
    """Return the options of `kubespawner.KubeSpawner`.

    Parameters
    ----------
    settings : ContainerSettings
        `namespace` must be set.

    Returns
    -------
    dict
        Traits and their values. A pod fits Kubernetes' "restricted" security standard, gets no service account token,
        and has a volume of its person's own as home.
    """
    return {
        **_common(settings),
        "namespace": settings.namespace,
        "slug_scheme": "safe",
        "pod_name_template": "rpacs-{user_server}",
        "working_dir": _HOME,
        "uid": _USER,
        "gid": _USER,
        "fs_gid": _USER,
        "service_account": None,
        "automount_service_account_token": False,
        "allow_privilege_escalation": False,
        "container_security_context": {"capabilities": {"drop": ["ALL"]}, "runAsNonRoot": True},
        "pod_security_context": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}, "fsGroup": _USER},
        # Addresses of every other service of the namespace are nobody's business in a notebook.
        "extra_pod_config": {"enableServiceLinks": False},
        "storage_pvc_ensure": True,
        # An administrator who disables somebody removes her from the hub; her files stay.
        "delete_pvc": False,
        "storage_capacity": f"{settings.storage_gb}Gi",
        "storage_class": settings.storage_class or None,
        "storage_access_modes": ["ReadWriteOnce"],
        "pvc_name_template": "rpacs-home-{user_server}",
        "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": "{pvc_name}"}}],
        "volume_mounts": [{"name": "home", "mountPath": _HOME}],
        "enable_user_namespaces": False,
    }


_KINDS = {"docker": ("dockerspawner", "DockerSpawner"), "kubernetes": ("kubespawner", "KubeSpawner")}


def spawner_class(kind: str) -> type[Workspace]:
    """Return the spawner for containers of one kind.

    Parameters
    ----------
    kind : {'docker', 'kubernetes'}
        As in `RPACS_SPAWNER`.

    Returns
    -------
    type
        The library's spawner with `rpacs_hub.workspace.Workspace` mixed in. Its configuration goes to
        ``c.DockerSpawner`` or ``c.KubeSpawner``.

    Raises
    ------
    SettingsError
        If the library is not installed.
    """
    module, name = _KINDS[kind]
    try:
        base = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise SettingsError(
            f"RPACS_SPAWNER is {kind}, but the package for it is not installed.",
            f"Install it with `pip install 'rpacs-hub[{kind}]'`.",
        ) from error
    made: type[Workspace] = type(f"Research{name}", (Workspace, base), {"__doc__": f"A researcher's {name} server."})
    return made
