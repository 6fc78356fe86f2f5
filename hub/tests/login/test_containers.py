"""What Docker and Kubernetes would be told. Neither is here: no container was ever started by these tests."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from unittest import mock

import docker
import pytest
from jupyterhub.user import User
from kubernetes_asyncio.client import ApiClient
from traitlets.config import Config

from hub.tests.login.test_settings import LEAST
from rpacs_hub.containers import ContainerSettings, docker_options, kubernetes_options, spawner_class
from rpacs_hub.errors import SettingsError
from rpacs_hub.login import HubSettings

SETTINGS = ContainerSettings(
    image="registry.example.org/research-pacs:1",
    memory=2 * 2**30,
    cpus=1.5,
    processes=300,
    open_files=4096,
    network="research",
    namespace="research",
    storage_class="fast",
    storage_gb=20,
)
ALLOWED = {
    "HOME",
    "LANG",
    "RPACS_URL",
    "MEM_LIMIT",
    "MEM_GUARANTEE",
    "CPU_LIMIT",
    "MEMORY_LIMIT",
    "JUPYTER_IMAGE",
    "JUPYTER_IMAGE_SPEC",
    "JPY_API_TOKEN",
}
PLANTED = "planted-in-the-hubs-environment"


def made(
    kind: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    asked: dict[str, Any],
    name: str = "Clara@example.org",
) -> Any:
    """Return a spawner for a person, configured as the hub configures it."""
    for variable in (
        "AWS_SECRET_ACCESS_KEY",
        "JUPYTERHUB_CRYPT_KEY",
        "CONFIGPROXY_AUTH_TOKEN",
        "RPACS_OIDC_CLIENT_SECRET",
    ):
        monkeypatch.setenv(variable, PLANTED)
    config = Config()
    config.Workspace.gateway_url = "https://pacs.example.org/services/pacs/"
    config.Workspace.idle_seconds = 7200
    config["DockerSpawner" if kind == "docker" else "KubeSpawner"].update(options)
    user = mock.Mock(spec=User)
    user.configure_mock(name=name, escaped_name="clara", id=7, url="/user/clara/")
    hub = mock.Mock(
        base_url="/hub/", url="http://10.0.0.5:8081", api_url="http://10.0.0.5:8081/hub/api", public_host=""
    )
    spawner = spawner_class(kind)(config=config, hub=hub, user=user, api_token="the-servers-token", oauth_client_id="c")
    spawner.server = mock.Mock(base_url="/user/clara/")
    spawner.user_options = asked
    return spawner


def docker_request(spawner: Any) -> dict[str, Any]:
    """Return what would be posted to Docker to create the container."""
    sent: dict[str, Any] = {}

    async def answer(method: str, *args: Any, **kwargs: Any) -> dict[str, str]:
        assert method == "create_container"
        sent.update(kwargs)
        return {"Id": "0" * 64}

    spawner.docker = answer
    asyncio.run(spawner.create_object())
    return sent


@pytest.fixture
def docker_client(monkeypatch: pytest.MonkeyPatch) -> None:
    # With a version given it asks nobody; only its way to write a host configuration is used.
    client = docker.APIClient(base_url="tcp://127.0.0.1:1", version="1.43")
    monkeypatch.setattr(spawner_class("docker").__mro__[2], "_client", client)


def test_a_docker_container(monkeypatch: pytest.MonkeyPatch, docker_client: None) -> None:
    spawner = made("docker", docker_options(SETTINGS), monkeypatch, {})
    sent = docker_request(spawner)
    assert sent["image"] == SETTINGS.image
    assert sent["user"] == "1000:1000"
    assert sent["command"][-2:] == ["workspace", "--ServerApp.shutdown_no_activity_timeout=15000"]
    host = sent["host_config"]
    assert host["Memory"] == host["MemorySwap"] == 2 * 2**30
    assert host["CpuQuota"] / host["CpuPeriod"] == 1.5
    assert host["PidsLimit"] == 300
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["NetworkMode"] == "research"
    assert host["AutoRemove"] is True
    assert {limit["Name"]: limit["Hard"] for limit in host["Ulimits"]} == {"core": 0, "nofile": 4096}
    assert not {"Privileged", "PortBindings", "CapAdd", "Devices"} & {name for name, value in host.items() if value}
    (bind,) = host["Binds"]
    assert bind == "rpacs-home--43lara-40example-2eorg:/home/researcher:rw"
    check_environment(sent["environment"])


def test_two_people_have_two_volumes(monkeypatch: pytest.MonkeyPatch, docker_client: None) -> None:
    volumes = set()
    for name in ("clara@example.org", "clara-example.org", "Clara@example.org"):
        spawner = made("docker", docker_options(SETTINGS), monkeypatch, {}, name)
        volumes.add(next(iter(spawner.volume_binds)))
    assert len(volumes) == 3


async def pod_request(spawner: Any) -> dict[str, Any]:
    """Return what would be posted to Kubernetes to create the pod."""
    async with ApiClient() as client:
        request: dict[str, Any] = client.sanitize_for_serialization(await spawner.get_pod_manifest())
    return request


def test_a_kubernetes_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    # There is no cluster whose address and certificates could be read.
    monkeypatch.setattr("kubespawner.spawner.load_config", lambda **_: None)
    monkeypatch.setattr("kubespawner.spawner.shared_client", lambda _: None)
    spawner = made("kubernetes", kubernetes_options(SETTINGS), monkeypatch, {})
    pod = asyncio.run(pod_request(spawner))
    spec = pod["spec"]
    assert spawner.namespace == "research"
    assert spec["automountServiceAccountToken"] is False
    assert spec.get("serviceAccountName") is None
    assert spec["enableServiceLinks"] is False
    assert spec["securityContext"] == {
        "fsGroup": 1000,
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec)
    (container,) = spec["containers"]
    assert container["image"] == SETTINGS.image
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "runAsGroup": 1000,
        "runAsNonRoot": True,
        "runAsUser": 1000,
    }
    assert container["resources"]["limits"] == {"cpu": 1.5, "memory": 2 * 2**30}
    (volume,) = spec["volumes"]
    claim = spawner.get_pvc_manifest()
    assert volume["persistentVolumeClaim"]["claimName"] == claim.metadata.name
    assert claim.spec.resources.requests == {"storage": "20Gi"}
    assert claim.spec.storage_class_name == "fast"
    assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/home/researcher"]
    assert all("valueFrom" not in variable for variable in container["env"])
    check_environment({variable["name"]: variable["value"] for variable in container["env"]})


def check_environment(environment: dict[str, Any]) -> None:
    """See that a server gets its own token and the gateway's address, and no secret of the hub."""
    others = {name for name in environment if not name.startswith("JUPYTERHUB_")}
    assert others <= ALLOWED
    assert environment["RPACS_URL"] == "https://pacs.example.org/services/pacs/"
    assert environment["JUPYTERHUB_API_TOKEN"] == "the-servers-token"
    assert environment["JUPYTERHUB_ACTIVITY_INTERVAL"] == "300"
    assert PLANTED not in str(environment)


def test_an_image_cannot_be_asked_for(monkeypatch: pytest.MonkeyPatch, docker_client: None) -> None:
    spawner = made("docker", docker_options(SETTINGS), monkeypatch, {"image": "evil", "profile": "browser"})
    base = spawner_class("docker").__mro__[2]

    async def started(self: Any) -> tuple[str, int]:
        return "10.0.0.9", 8888

    monkeypatch.setattr(base, "start", started)
    assert asyncio.run(spawner.start()) == ("10.0.0.9", 8888)
    assert spawner.user_options == {"profile": "browser"}
    assert spawner.default_url == "/voila/render/research-pacs/Browse.ipynb"
    assert spawner.image == SETTINGS.image


@pytest.mark.parametrize(("kind", "module"), [("docker", "dockerspawner"), ("kubernetes", "kubespawner")])
def test_a_missing_extra_is_named(kind: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=rf"pip install 'rpacs-hub\[{kind}\]'"):
        spawner_class(kind)


CONTAINERS = {
    **LEAST,
    "RPACS_SERVER_IMAGE": "research-pacs:1",
    "RPACS_HUB_API_HOST": "10.0.0.5",
    "RPACS_HUB_API_URL": "http://10.0.0.5:8081/",
}


def test_settings_of_containers() -> None:
    environment = {
        **CONTAINERS,
        "RPACS_SPAWNER": "kubernetes",
        "RPACS_KUBERNETES_NAMESPACE": "research",
        "RPACS_SERVER_MEMORY_MB": "2048",
        "RPACS_SERVER_CPUS": "1.5",
        "RPACS_SERVER_STORAGE_GB": "20",
    }
    settings = HubSettings.from_environment(environment)
    assert settings.spawner == "kubernetes"
    assert (settings.hub_host, settings.hub_api_url) == ("10.0.0.5", "http://10.0.0.5:8081")
    assert settings.containers == ContainerSettings(
        image="research-pacs:1",
        memory=2 * 2**30,
        cpus=1.5,
        processes=2048,
        open_files=8192,
        namespace="research",
        storage_gb=20,
    )
    assert HubSettings.from_environment(LEAST).containers is None
    assert HubSettings.from_environment(LEAST).hub_host == "127.0.0.1"


@pytest.mark.parametrize(
    "name", ["RPACS_SERVER_IMAGE", "RPACS_HUB_API_HOST", "RPACS_HUB_API_URL", "RPACS_DOCKER_NETWORK"]
)
def test_what_containers_need_is_asked_for(name: str) -> None:
    environment = {**CONTAINERS, "RPACS_SPAWNER": "docker", "RPACS_DOCKER_NETWORK": "research", name: ""}
    with pytest.raises(SettingsError, match=f"{name} is not set"):
        HubSettings.from_environment(environment)


def test_an_address_that_no_container_reaches_is_refused() -> None:
    environment = {**CONTAINERS, "RPACS_SPAWNER": "docker", "RPACS_DOCKER_NETWORK": "research"}
    with pytest.raises(SettingsError, match="no container can reach"):
        HubSettings.from_environment({**environment, "RPACS_HUB_API_URL": "http://127.0.0.1:8081"})
