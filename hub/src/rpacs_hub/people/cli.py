"""``rpacs-hub users`` and ``rpacs-hub groups``: what the pages do, at the terminal."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rpacs_hub.audit.terminal import at_terminal
from rpacs_hub.errors import SettingsError
from rpacs_hub.people.cognito import UserPool
from rpacs_hub.people.hub import HubUsers
from rpacs_hub.people.people import Outcome, People, Person
from rpacs_hub.people.settings import PeopleSettings
from rpacs_hub.permissions import Action

__all__ = ["add_commands"]

_NEEDS = (
    "Accounts and groups: RPACS_COGNITO_POOL (and RPACS_COGNITO_ENDPOINT, ..._ACCESS_KEY, ..._SECRET_KEY; on AWS the "
    "credentials of whoever calls). The Hub: RPACS_HUB_API_URL, such as http://127.0.0.1:8081/hub/api, and "
    "RPACS_HUB_API_TOKEN, a token that an administrator made for herself on the Hub's page Token; without them the "
    "Hub's side is left out, and said so. Whatever changes something is written to the audit: RPACS_DATABASE_URL, the "
    "gateway's address of the database."
)

Act = Callable[[People, argparse.Namespace], Outcome]


def add_commands(commands: Any) -> None:
    """Add ``users`` and ``groups`` to the commands of ``rpacs-hub``.

    Parameters
    ----------
    commands
        What `argparse.ArgumentParser.add_subparsers` returned.
    """
    users = commands.add_parser("users", help="users: in the user pool and in the Hub", description=_NEEDS)
    users = users.add_subparsers(required=True, metavar="COMMAND")
    listing = users.add_parser("list", help="show users")
    listing.add_argument("search", nargs="?", default="", metavar="BEGINNING", help="whose user names begin so")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_list)
    show = users.add_parser("show", help="show one user")
    show.add_argument("user")
    show.add_argument("--json", action="store_true", help="as JSON")
    show.set_defaults(run=_show)
    create = _action(users, "create", "create a user; prints the temporary password", Action.CREATE_USER, _create)
    create.add_argument("--email", default="", metavar="ADDRESS", help="mail address")
    create.add_argument("--group", action="append", default=[], dest="groups", metavar="G", help="may be repeated")
    for name, words, action, act in (
        ("disable", "lock a user out: no sign-in, no server, no token", Action.DISABLE_USER, People.disable),
        ("enable", "let a user sign in again", Action.ENABLE_USER, People.enable),
        ("reset-password", "make and print a new temporary password", Action.RESET_PASSWORD, People.reset_password),
        ("delete", "delete a user; files, exports and audit stay", Action.DELETE_USER, People.delete),
        ("stop-server", "stop a user's server", Action.STOP_SERVER, People.stop_server),
    ):
        _action(users, name, words, action, _of_user(act))

    groups = commands.add_parser("groups", help="groups: in the user pool", description=_NEEDS)
    groups = groups.add_subparsers(required=True, metavar="COMMAND")
    listing = groups.add_parser("list", help="show groups and how many members each has")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_list_groups)
    members = groups.add_parser("show", help="show the members of a group")
    members.add_argument("group")
    members.add_argument("--json", action="store_true", help="as JSON")
    members.set_defaults(run=_show_group)
    made = _action(groups, "create", "create a group", Action.CREATE_GROUP, _create_group, "group")
    made.add_argument("--description", default="", metavar="TEXT")
    _action(groups, "delete", "delete a group; its members stay users", Action.DELETE_GROUP, _delete_group, "group")
    for name, words, action, member in (
        ("add", "put a user into a group", Action.ADD_TO_GROUP, _add),
        ("remove", "take a user out of a group", Action.REMOVE_FROM_GROUP, _remove),
    ):
        _action(groups, name, words, action, member, "group").add_argument("user")


def _action(commands: Any, name: str, words: str, action: Action, act: Act, subject: str = "user") -> Any:
    """Add a command that changes something."""
    parser = commands.add_parser(name, help=words, description=f"{words[0].upper()}{words[1:]}. {_NEEDS}")
    parser.add_argument(subject)
    parser.set_defaults(run=lambda arguments: _do(action, act, arguments))
    return parser


def _do(action: Action, act: Act, arguments: argparse.Namespace) -> int:
    """Do something under an audit line, say what came of it, and exit with 1 if something is left to do."""
    subject = ": ".join(value for name in ("user", "group") if (value := getattr(arguments, name, None)))
    with _people() as people, at_terminal(action) as event:
        event.subject = subject[:200]
        outcome = act(people, arguments)
        event.why = [*outcome.done, *outcome.failed]
        if outcome.failed:
            event.decision = "error"
    for sentence in outcome.done:
        print(sentence)
    for sentence in outcome.failed:
        print(f"rpacs-hub: {sentence}", file=sys.stderr)
    if outcome.password:
        print(f"Temporary password, to be replaced at the first sign-in: {outcome.password}")
    return 1 if outcome.failed else 0


def _of_user(act: Callable[[People, str], Outcome]) -> Act:
    return lambda people, arguments: act(people, arguments.user)


def _create(people: People, arguments: argparse.Namespace) -> Outcome:
    return people.create(arguments.user, arguments.email, arguments.groups)


def _create_group(people: People, arguments: argparse.Namespace) -> Outcome:
    return people.create_group(arguments.group, arguments.description)


def _delete_group(people: People, arguments: argparse.Namespace) -> Outcome:
    return people.delete_group(arguments.group)


def _add(people: People, arguments: argparse.Namespace) -> Outcome:
    return people.add(arguments.user, arguments.group)


def _remove(people: People, arguments: argparse.Namespace) -> Outcome:
    outcome = people.remove(arguments.user, arguments.group)
    outcome.done.append("It counts from the next renewal of her session, in a minute or so.")
    return outcome


@contextlib.contextmanager
def _people(env: Mapping[str, str] | None = None) -> Iterator[People]:
    env = os.environ if env is None else env
    settings = PeopleSettings.from_environment(env)
    url, token = (env.get(f"RPACS_HUB_API_{name}", "").strip() for name in ("URL", "TOKEN"))
    if bool(url) != bool(token):
        raise SettingsError("Only one of RPACS_HUB_API_URL and RPACS_HUB_API_TOKEN is set.", "Set both, or neither.")
    if settings.pool is None and not url:
        raise SettingsError("Neither RPACS_COGNITO_POOL nor RPACS_HUB_API_URL is set.", "Set the first, or both.")
    with contextlib.ExitStack() as stack:
        pool = UserPool(settings.pool) if settings.pool is not None else None
        if pool is not None:
            stack.callback(pool.close)
        hub = stack.enter_context(HubUsers(url, token)) if url else None
        yield People(pool, hub, settings.admin_group)


def _facts(person: Person) -> dict[str, Any]:
    account, hub = person.account, person.hub
    return {
        "name": person.name,
        "email": account.email if account else None,
        "enabled": account.enabled if account else None,
        "temporary_password": account.temporary_password if account else None,
        "groups": list(person.groups),
        "last_activity": hub.last_activity.isoformat() if hub and hub.last_activity else None,
        "server": hub.running if hub else None,
    }


def _line(facts: dict[str, Any]) -> str:
    state = {True: "can sign in", False: "disabled", None: "not in the user pool"}[facts["enabled"]]
    if facts["enabled"] and facts["temporary_password"]:
        state = "temporary password"
    server = "  server runs" if facts["server"] else ""
    return f"{facts['name']:24}  {state:20}  {', '.join(facts['groups']) or '-'}{server}"


def _print(found: list[dict[str, Any]], as_json: bool) -> int:
    if as_json:
        print(json.dumps(found))
    else:
        for facts in found:
            print(_line(facts))
    return 0


def _list(arguments: argparse.Namespace) -> int:
    found: list[Person] = []
    with _people() as people:
        page = ""
        while True:
            some, page = people.some(arguments.search, page)
            found += some
            if not page:
                break
    return _print([_facts(person) for person in found], arguments.json)


def _show(arguments: argparse.Namespace) -> int:
    with _people() as people:
        facts = _facts(people.person(arguments.user))
    if arguments.json:
        print(json.dumps(facts))
        return 0
    for name, value in facts.items():
        print(f"{name.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
    return 0


def _list_groups(arguments: argparse.Namespace) -> int:
    with _people() as people:
        found = people.groups_with_members()
    if arguments.json:
        facts = [
            {"name": group.name, "description": group.description, "members": [person.name for person in members]}
            for group, members in found
        ]
        print(json.dumps(facts))
        return 0
    for group, members in found:
        print(f"{group.name:32}  {len(members):5}  {group.description}".rstrip())
    return 0


def _show_group(arguments: argparse.Namespace) -> int:
    with _people() as people:
        members = people.members(arguments.group)
    return _print([_facts(person) for person in members], arguments.json)
