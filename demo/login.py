"""The local stand-in for Amazon Cognito: how to start it, and what to put into it the first time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.config

from demo.errors import StackError
from demo.settings import Settings

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_POOL_NAME = "research-pacs"


@dataclass(frozen=True)
class LoginClient:
    """What the Hub must know to send people to the login page.

    Attributes
    ----------
    pool_id
        User pool.
    client_id
        The Hub's client in it.
    """

    pool_id: str
    client_id: str

    @classmethod
    def read(cls, record: Path) -> LoginClient:
        """Return the ids that `seed` remembered."""
        return cls(**json.loads(record.read_text(encoding="utf-8")))


def prepare_login(settings: Settings, folder: Path) -> list[Path]:
    """Write cognito-local's configuration and return the files and folders that its user must own."""
    inside = folder / ".cognito"
    database = inside / "db"
    for path in (inside, database):
        path.mkdir(mode=0o700, exist_ok=True)
    configuration = inside / "config.json"
    configuration.write_text(
        json.dumps(
            {
                # People sign in with their user names, not with mail addresses.
                "UserPoolDefaults": {"UsernameAttributes": []},
                "TokenConfig": {"IssuerDomain": settings.login_url},
            }
        ),
        encoding="utf-8",
    )
    return [inside, database, configuration]


def login_command(settings: Settings) -> list[str]:
    """Return the command line of the server, which stays in the foreground.

    Raises
    ------
    StackError
        If Node's parts are not installed.
    """
    node = settings.root / ".node" / "node"
    if not node.exists():
        raise StackError("the Node parts are not installed: run make setup")
    return [str(node), str(settings.root / "demo" / "login_server.js")]


def login_environment(settings: Settings, admin_key: str) -> dict[str, str]:
    """Return the server's environment."""
    return {
        "HOST": "127.0.0.1",
        "PORT": str(settings.ports.login),
        "NODE_PATH": str(settings.root / ".node" / "node_modules"),
        "NODE_NO_WARNINGS": "1",
        "RPACS_LOGIN_ADMIN_KEY": admin_key,
    }


def cognito(settings: Settings, admin_key: str) -> CognitoIdentityProviderClient:
    """Return a client of the server's administration."""
    return boto3.client(
        "cognito-idp",
        endpoint_url=settings.login_url,
        region_name="us-east-1",
        aws_access_key_id=admin_key,
        aws_secret_access_key="unused",  # noqa: S106 - the stand-in checks no signatures
        config=botocore.config.Config(retries={"total_max_attempts": 1}, connect_timeout=3, read_timeout=10),
    )


def seed(settings: Settings, admin_key: str, passwords: dict[str, str], record: Path) -> LoginClient:
    """Create user pool, client, groups and demo users, unless `record` says that this was done.

    What an administrator changes afterwards (passwords, groups, users) stays as she left it.

    Parameters
    ----------
    settings
        The stack's settings.
    admin_key
        Key of the server's administration.
    passwords
        Password of each demo user.
    record
        File that remembers the ids; written when everything is in place.

    Returns
    -------
    LoginClient
        The ids.
    """
    api = cognito(settings, admin_key)
    callback = f"{settings.hub_url}/hub/oauth_callback"
    if record.exists():
        known = LoginClient.read(record)
        client = api.describe_user_pool_client(UserPoolId=known.pool_id, ClientId=known.client_id)["UserPoolClient"]
        if client.get("CallbackURLs") != [callback]:  # the ports were changed
            api.update_user_pool_client(UserPoolId=known.pool_id, ClientId=known.client_id, CallbackURLs=[callback])
        return known
    # A start that was interrupted may have left half a pool: begin again.
    for pool in api.list_user_pools(MaxResults=60)["UserPools"]:
        if pool.get("Name") == _POOL_NAME:
            api.delete_user_pool(UserPoolId=pool["Id"])
    pool_id = api.create_user_pool(PoolName=_POOL_NAME)["UserPool"]["Id"]
    created = api.create_user_pool_client(
        UserPoolId=pool_id,
        ClientName="hub",
        GenerateSecret=True,
        CallbackURLs=[callback],
        AllowedOAuthFlows=["code"],
        AllowedOAuthFlowsUserPoolClient=True,
        AllowedOAuthScopes=["openid", "email", "profile"],
        IdTokenValidity=60,
        AccessTokenValidity=60,
        TokenValidityUnits={"AccessToken": "minutes", "IdToken": "minutes", "RefreshToken": "days"},
    )["UserPoolClient"]
    for group in settings.groups:
        api.create_group(UserPoolId=pool_id, GroupName=group)
    for user in settings.users:
        api.admin_create_user(
            UserPoolId=pool_id,
            Username=user.name,
            UserAttributes=[
                {"Name": "email", "Value": f"{user.name}@example.org"},
                {"Name": "email_verified", "Value": "true"},
            ],
            MessageAction="SUPPRESS",
        )
        api.admin_set_user_password(
            UserPoolId=pool_id, Username=user.name, Password=passwords[user.name], Permanent=True
        )
        for group in user.groups:
            api.admin_add_user_to_group(UserPoolId=pool_id, Username=user.name, GroupName=group)
    known = LoginClient(pool_id, created["ClientId"])
    draft = record.with_suffix(".new")
    draft.write_text(json.dumps(asdict(known)), encoding="utf-8")
    draft.replace(record)
    return known


def client_secret(settings: Settings, admin_key: str, known: LoginClient) -> str:
    """Return the secret of the Hub's client."""
    api = cognito(settings, admin_key)
    client = api.describe_user_pool_client(UserPoolId=known.pool_id, ClientId=known.client_id)["UserPoolClient"]
    return client["ClientSecret"]
