"""Users and groups: in the user pool by which people sign in (Amazon Cognito), and in the Hub."""

from rpacs_hub.people.cognito import Account, Group, UserPool
from rpacs_hub.people.errors import (
    NoUserPool,
    PeopleError,
    PeopleExist,
    PeopleMissing,
    PeopleRefused,
    PoolUnavailable,
)
from rpacs_hub.people.hub import HubUser, HubUsers
from rpacs_hub.people.people import Outcome, People, Person
from rpacs_hub.people.settings import PeopleSettings, PoolSettings

__all__ = [
    "Account",
    "Group",
    "HubUser",
    "HubUsers",
    "NoUserPool",
    "Outcome",
    "People",
    "PeopleError",
    "PeopleExist",
    "PeopleMissing",
    "PeopleRefused",
    "PeopleSettings",
    "Person",
    "PoolSettings",
    "PoolUnavailable",
    "UserPool",
]
