"""What a page of the administration is made of: its addresses, the call it gets, and the answers it gives."""

from __future__ import annotations

import copy
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import quote, urlencode

import jinja2

from rpacs_hub.gateway._exchange import ApiError, Call, Endpoint, Reply, Route
from rpacs_hub.permissions import Action

__all__ = [
    "AdminCall",
    "NavEntry",
    "PageReply",
    "confirm",
    "get",
    "page",
    "post",
    "quoted",
    "redirect",
    "render",
    "required",
]

HTML = "text/html; charset=utf-8"

_NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class NavEntry:
    """A page's place in the navigation.

    Attributes
    ----------
    title
        What people read.
    path
        Below ``admin/``; everything below it belongs to the entry as well.
    """

    title: str
    path: str


@dataclass
class PageReply(Reply):
    """An answer with something to say on the next page.

    Attributes
    ----------
    said
        The sentence; empty for none. Never a secret: it travels in a cookie.
    warning
        Whether it is bad news.
    """

    said: str = ""
    warning: bool = False


@dataclass
class AdminCall(Call):
    """One request of somebody who is signed in: an administrator, but for pages that are everybody's.

    Attributes
    ----------
    form
        Fields of a form that was sent, without white space around them; the last of each name. Empty for a GET.
    form_lists
        Fields that may come several times, such as check boxes: every value.
    token
        Her own OAuth token, for the Hub's API.
    at_hub
        Name of her session at the Hub.
    form_token
        What each form must bring along as ``_xsrf``; the templates do it.
    nonce
        Marks this answer's own style and scripts; nothing else runs (Content Security Policy).
    said, warning
        What the last action had to say.
    navigation
        The pages that there are.
    """

    form: Mapping[str, str] = field(default_factory=dict)
    form_lists: Mapping[str, Sequence[str]] = field(default_factory=dict)
    token: str = field(default="", repr=False)
    at_hub: str = field(default="", repr=False)
    form_token: str = field(default="", repr=False)
    nonce: str = ""
    said: str = ""
    warning: bool = False
    navigation: Sequence[NavEntry] = ()

    def url(self, path: str = "", **query: object) -> str:
        """Return the address of a page.

        Parameters
        ----------
        path
            Below ``admin/``; names within it must have been quoted (`quote(name, safe="")`).
        query
            Parameters; those that are None or empty are left out.
        """
        given = {name: value for name, value in query.items() if value is not None and value != ""}
        return f"{self.services.settings.service_prefix}admin/{path}" + (f"?{urlencode(given)}" if given else "")

    @property
    def confirmed(self) -> bool:
        """Whether the question of `confirm` was answered."""
        return self.form.get("confirmed") == "yes"

    async def begin(self, action: Action, subject: str) -> None:
        """Write down what is about to be done, right before it is done; what comes of it gets a line of its own.

        Every endpoint that changes something calls this: a change that the audit cannot hold must not happen.

        Parameters
        ----------
        action
            What is done.
        subject
            To whom or what.

        Raises
        ------
        AuditUnavailable
            The line could not be written.
        """
        self.event.action, self.event.subject = str(action), subject
        before = replace(copy.copy(self.event), decision="allowed", why=["Begun; the outcome follows."])
        await self.services.audit.write(before)


PageEndpoint = Callable[[AdminCall], Awaitable[Reply]]


def get(path: str, endpoint: PageEndpoint, action: Action = Action.ADMIN_VIEW) -> Route:
    """Return a page that is looked at; `path` is below ``admin/``."""
    return Route("GET", path, cast(Endpoint, endpoint), action)


def post(path: str, endpoint: PageEndpoint, action: Action) -> Route:
    """Return where a form is sent to; `path` is below ``admin/``."""
    return Route("POST", path, cast(Endpoint, endpoint), action)


def _moment(value: datetime | str | None) -> str:
    """Show a moment in UTC, to the minute."""
    if not value:
        return _NOTHING
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _number(value: int | None) -> str:
    """Show a number with its thousands apart."""
    return _NOTHING if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def quoted(value: str) -> str:
    """Write a name so that it can stand in a path."""
    return quote(value, safe="")


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("rpacs_hub.gateway.admin"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters |= {"moment": _moment, "number": _number, "quoted": quoted}


def render(template: str, **values: Any) -> bytes:
    """Return a filled-in template; whatever is put into it is escaped."""
    return _templates.get_template(template).render(**values).encode()


def page(call: AdminCall, template: str, *, title: str, status: int = 200, **values: Any) -> PageReply:
    """Return a page.

    Parameters
    ----------
    call
        The request.
    template
        File in ``templates/``, which extends ``base.html``.
    title
        Heading and title of the window.
    status
        HTTP status.
    values
        What the template uses. It also knows ``call``, ``url``, ``hub`` (path of the Hub), the filters ``moment``,
        ``number`` and ``quoted``, and the macros of ``parts.html``.
    """
    body = render(
        template,
        call=call,
        title=title,
        url=call.url,
        hub=call.services.settings.hub_path,
        here=_here(call),
        **values,
    )
    return PageReply(status, body=body, content_type=HTML)


def redirect(call: AdminCall, path: str, *, message: str = "", warning: bool = False) -> PageReply:
    """Answer a form that was dealt with: the browser goes to a page, which says what was done.

    Parameters
    ----------
    call
        The request.
    path
        As for `AdminCall.url`, perhaps with a query string.
    message
        A sentence or two; never a secret.
    warning
        Whether something went wrong.
    """
    return PageReply(
        303, body=b"", content_type=HTML, headers={"Location": call.url(path)}, said=message, warning=warning
    )


def confirm(call: AdminCall, question: str, *, text: str, button: str, back: str, danger: bool = True) -> PageReply:
    """Ask whether it is really meant; the answer is the same form once more, with `AdminCall.confirmed`.

    Parameters
    ----------
    call
        The request with the form, which is not acted upon.
    question
        Heading, such as ``Delete clara?``.
    text
        What will happen, and what of it cannot be undone.
    button
        What is pressed to go on, such as ``Delete``.
    back
        The page to return to, as for `AdminCall.url`.
    danger
        Whether the button is a red one.
    """
    call.event.action, call.event.why = str(Action.ADMIN_VIEW), ["Asked for confirmation; nothing was done."]
    fields = [
        (name, value)
        for name, values in call.form_lists.items()
        if name not in ("_xsrf", "confirmed")
        for value in values
    ]
    return page(
        call,
        "confirm.html",
        title=question,
        text=text,
        button=button,
        back=call.url(back),
        danger=danger,
        fields=fields,
    )


def required(call: AdminCall, name: str, what: str) -> str:
    """Return a field of the form.

    Raises
    ------
    ApiError
        400 if it is missing or empty.
    """
    value = call.form.get(name, "")
    if not value:
        raise ApiError(400, "field_missing", f"{what} is missing.", "Go back and fill it in.")
    return value


def said_cookie(reply: PageReply) -> str:
    """Return what the next page has to say as the text of a cookie."""
    return json.dumps([reply.said[:1500], reply.warning])


def read_said(value: bytes | None) -> tuple[str, bool]:
    """Return what the cookie has to say."""
    if value is None:
        return "", False
    said, warning = json.loads(value)
    return str(said), bool(warning)


def _here(call: AdminCall) -> NavEntry | None:
    below = call.event.path.removeprefix(f"{call.services.settings.service_prefix}admin/")
    found = [entry for entry in call.navigation if below == entry.path or below.startswith(f"{entry.path}/")]
    return max(found, key=lambda entry: len(entry.path), default=None)
