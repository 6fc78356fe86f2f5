"""Where accounts are managed, from the environment.

==============================  =================================================================================
variable                        meaning
==============================  =================================================================================
``RPACS_COGNITO_POOL``          id of the Cognito user pool; not set = accounts are managed elsewhere
``RPACS_COGNITO_REGION``        its region; by default what stands before the underscore of the pool's id
``RPACS_COGNITO_ENDPOINT``      address of a stand-in for Cognito (tests, the demo)
``RPACS_COGNITO_ACCESS_KEY``,   keys; on AWS they are left out, and the role of the machine or container serves
``RPACS_COGNITO_SECRET_KEY``
``RPACS_ACCOUNTS_AT``           where else accounts are managed, in words or as an address, for the page to show
``RPACS_ADMIN_GROUP``           group of the administrators (``pacs-admins``)
==============================  =================================================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from rpacs_hub.errors import SettingsError

__all__ = ["PeopleSettings", "PoolSettings"]


@dataclass(frozen=True)
class PoolSettings:
    """A Cognito user pool and how to reach it; see the table at the top of this module."""

    pool: str
    region: str
    endpoint: str | None = None
    access_key: str | None = field(default=None, repr=False)
    secret_key: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PeopleSettings:
    """Where accounts are managed.

    Attributes
    ----------
    pool
        The user pool; None = elsewhere.
    accounts_at
        Where else; may be empty.
    admin_group
        Group of the administrators.
    """

    pool: PoolSettings | None = None
    accounts_at: str = ""
    admin_group: str = "pacs-admins"

    @classmethod
    def from_environment(cls, env: Mapping[str, str] | None = None) -> PeopleSettings:
        """Read the settings.

        Raises
        ------
        SettingsError
            A variable cannot be used.
        """
        env = os.environ if env is None else env
        return cls(_pool(env), env.get("RPACS_ACCOUNTS_AT", "").strip(), env.get("RPACS_ADMIN_GROUP") or "pacs-admins")


def _pool(env: Mapping[str, str]) -> PoolSettings | None:
    pool, endpoint = (env.get(f"RPACS_COGNITO_{name}", "").strip() for name in ("POOL", "ENDPOINT"))
    if not pool:
        return None
    region = env.get("RPACS_COGNITO_REGION", "").strip() or pool.partition("_")[0]
    if not re.fullmatch(r"[A-Za-z0-9-]{3,30}", region) or not re.fullmatch(r"[\w-]+_[0-9A-Za-z]+", pool):
        raise SettingsError(f"RPACS_COGNITO_POOL is {pool!r}.", "It looks like eu-central-1_AbCdEfGhI.")
    if endpoint and (urlsplit(endpoint).scheme not in ("http", "https") or not urlsplit(endpoint).hostname):
        raise SettingsError("RPACS_COGNITO_ENDPOINT is not an address.", "On AWS leave it out.")
    keys = [env.get(f"RPACS_COGNITO_{name}", "").strip() or None for name in ("ACCESS_KEY", "SECRET_KEY")]
    if (keys[0] is None) != (keys[1] is None):
        raise SettingsError(
            "Only one of RPACS_COGNITO_ACCESS_KEY and RPACS_COGNITO_SECRET_KEY is set.", "Set both, or on AWS neither."
        )
    return PoolSettings(pool, region, endpoint or None, *keys)
