"""Asking every part how it is. A process that runs proves nothing: each check uses the part as its users do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import psycopg

from demo.settings import Settings


@dataclass(frozen=True)
class Health:
    """An answer.

    Attributes
    ----------
    ok
        Whether the part does its work.
    detail
        One line: figures if it does, what is wrong if not. Holds neither secrets nor patient data.
    """

    ok: bool
    detail: str


def checked(check: Callable[[], str]) -> Health:
    """Run a check that returns a line of figures, and turn the ways in which it fails into words."""
    try:
        return Health(True, check())
    except httpx.HTTPStatusError as error:
        return Health(False, f"answers with HTTP {error.response.status_code}")
    except httpx.TransportError as error:
        return Health(False, f"does not answer ({type(error).__name__})")
    except psycopg.Error as error:
        return Health(False, (str(error).strip().splitlines() or [type(error).__name__])[0])
    except Unwell as error:
        return Health(False, str(error))
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a part must not end the look at the others
        return Health(False, f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")


class Unwell(Exception):  # noqa: N818 - a finding, not a mistake
    """A part answers, but not as it should."""


def postgres_url(settings: Settings, user: str, password: str, database: str = "rpacs") -> str:
    """Return the address of a database for a role."""
    return f"postgresql://{quote(user)}:{quote(password, safe='')}@127.0.0.1:{settings.ports.postgres}/{database}"


def postgres(admin_url: str) -> str:
    """Log in and ask something."""
    with psycopg.connect(admin_url, connect_timeout=3) as connection:
        row = connection.execute("SELECT current_setting('server_version'), pg_is_in_recovery()").fetchone()
    assert row is not None
    if row[1]:
        raise Unwell("still recovering after a crash")
    return f"version {row[0].split()[0]}"


def orthanc(url: str) -> str:
    """Ask for the number of instances."""
    statistics = _json(f"{url}/statistics")
    megabytes = int(statistics["TotalDiskSize"]) / 1e6
    return f"{statistics['CountInstances']} instances, {megabytes:.1f} MB"


def login(url: str) -> str:
    """Ask the sign-in server whether it is there."""
    _json(f"{url}/health")
    return "local stand-in for Amazon Cognito"


def s3(settings: Settings, access_key: str, secret_key: str) -> str:
    """Write an object into a bucket of the stack's own, and remove it: the port opens long before that works."""
    import boto3
    import botocore.config
    import botocore.exceptions

    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=5),
    )
    probe = "stack-health"
    try:
        have = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        for bucket in {settings.exports_bucket, settings.forbidden_bucket, probe} - have:
            client.create_bucket(Bucket=bucket)
        client.put_object(Bucket=probe, Key="probe", Body=b"x")
        client.delete_object(Bucket=probe, Key="probe")
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        raise Unwell(f"takes no objects ({type(error).__name__})") from None
    return f"takes objects; buckets {settings.exports_bucket}, {settings.forbidden_bucket}"


def deid(status: dict[str, Any]) -> str:
    """Judge what the de-identifier says of itself (``rpacs-deid status --json``)."""
    if not status["well"]:
        raise Unwell(deid_trouble(status))
    quarantined = sum(status["quarantined"].values())
    return f"{status['counts'].get('done', 0)} cleaned, {status['queued']} waiting, {quarantined} in quarantine"


def deid_trouble(status: dict[str, Any]) -> str:
    """Return what is wrong with the de-identifier, in one line."""
    if status["rules_error"]:
        return f"rules file: {str(status['rules_error']).splitlines()[0]}"
    if not any(process["alive"] for process in status["processes"]):
        return "no process of it has reported lately"
    return "; ".join(status["troubles"]) or str(status["ingest_error"])


def indexer(admin_url: str) -> str:
    """Look at the indexer's sign of life and at how far it is behind."""
    with psycopg.connect(admin_url, connect_timeout=3) as connection:
        row = connection.execute(
            """
            SELECT extract(epoch FROM now() - seen_at)::float, trouble, newest - position,
                   (SELECT count(*) FROM pacs.instance), (SELECT count(*) FROM pacs.unreadable)
            FROM pacs.feed
            """
        ).fetchone()
    if row is None or row[0] is None:
        raise Unwell("has not begun")
    silent, trouble, behind, indexed, unreadable = row
    if silent > 60:
        raise Unwell(f"silent for {silent:.0f} s")
    if trouble:
        raise Unwell(f"pauses: {trouble}")
    line = f"{indexed} instances"
    if behind > 0:
        line += f", {behind} changes to go"
    if unreadable:
        line += f", {unreadable} unreadable"
    return line


def hub(url: str) -> str:
    """Ask the Hub's API through the proxy, which says 404 until the Hub is there."""
    return f"JupyterHub {_json(f'{url}/hub/api/')['version']}"


def gateway_answer(url: str) -> dict[str, Any]:
    """Return what the gateway says of itself, asked through the proxy."""
    response = httpx.get(f"{url}/api/v1/health", timeout=10)
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "status" not in answer:
        response.raise_for_status()
        raise Unwell("does not answer as a gateway")
    return answer


def gateway(answer: dict[str, Any]) -> str:
    """Judge what the gateway says of itself."""
    if answer["status"] == "ok":
        return "reaches database and images"
    wrong = [f"{name} is {value}" for name in ("database", "orthanc") if (value := answer.get(name)) != "ok"]
    permissions = (answer.get("permissions") or {}).get("error")
    wrong += [f"permissions file: {permissions}"] if permissions else []
    raise Unwell("; ".join(wrong) or f"says {answer['status']}")


def _json(url: str) -> Any:
    return httpx.get(url, timeout=10).raise_for_status().json()
