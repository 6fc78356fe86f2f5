"""The pages on which a text of the permissions is written and looked at before it is saved."""

from __future__ import annotations

from rpacs_hub.errors import HubError, PermissionsError, Problem
from rpacs_hub.gateway._exchange import Reply
from rpacs_hub.gateway.admin._page import AdminCall, PageReply, page
from rpacs_hub.permissions import difference_of, parse_permissions
from rpacs_hub.permissions.preview import preview

__all__ = ["conflict_page", "edit_page", "preview_page", "refused", "text_of"]

_SPARE = 4
"""Lines of the editor below the text."""


def text_of(call: AdminCall) -> str:
    """Return the text that a form brings, as it was written, with one line end at its end.

    Not `AdminCall.form`: that takes white space away, which in YAML has a meaning.
    """
    given = (call.form_lists.get("text") or [""])[-1]
    return given.rstrip() + "\n" if given.strip() else ""


def edit_page(call: AdminCall, text: str, expected: str, error: PermissionsError | None, **more: object) -> PageReply:
    """Return the page with the text and what is wrong with it.

    Parameters
    ----------
    call
        The request.
    text
        What is written.
    expected
        Digest of the file that the text was made from.
    error
        What is wrong with the text.
    more
        For the template.
    """
    lines = text.splitlines()
    problems = [(one, _line(lines, one)) for one in error.problems] if error else []
    values: dict[str, object] = {"newer": [], **more}
    status = 400 if problems else 409 if values["newer"] else 200
    return page(
        call,
        "profiles_edit.html",
        status=status,
        title="Edit the permissions",
        text=text,
        expected=expected,
        problems=problems,
        wrong={one.line for one, _ in problems},
        count=len(lines) + _SPARE,
        name=call.services.permissions.name,
        **values,
    )


def conflict_page(call: AdminCall, text: str, found: str) -> PageReply:
    """Return the page of somebody whose change came too late: hers, and what is in the file by now."""
    state = call.services.permissions.state
    lines = difference_of((state.found or b"").decode("utf-8", "replace"), text, "the file now", "your text")
    return edit_page(call, text, found, None, newer=lines)


async def preview_page(
    call: AdminCall,
    text: str,
    expected: str,
    *,
    complaint: HubError | None = None,
    version: int | None = None,
) -> PageReply:
    """Return the page that says what a valid text would do.

    Parameters
    ----------
    call
        The request.
    text
        The new text.
    expected
        Digest of the file that the change was made from.
    complaint
        Why it was not saved just now.
    version
        The earlier version that the text is.
    """
    store = call.services.permissions
    new = parse_permissions(text)
    unknown = ""
    people = []
    try:
        people = list(await call.services.authenticator.everybody(call.token))
    except HubError as error:
        unknown = error.message
    found = await preview(call.services.index, store.current, new, people)
    return page(
        call,
        "profiles_preview.html",
        title="What this change does" if version is None else f"Going back to version {version}",
        status=409 if complaint else 200,
        preview=found,
        warnings=sorted(new.warnings, key=lambda problem: problem.line),
        unknown=unknown,
        people=len(people),
        text=text,
        expected=expected,
        version=version,
        complaint=complaint,
        why=call.form.get("why", ""),
        lines=difference_of(store.state.text, text, "in force", "new"),
    )


def refused(call: AdminCall, error: HubError, reply: PageReply) -> Reply:
    """Return a page for a change that was not saved, and say so in the audit."""
    call.event.decision, call.event.why = "error", [f"Not saved: {error.message.splitlines()[0]}"]
    return reply


def _line(lines: list[str], problem: Problem) -> str:
    """Return the line of a problem with a mark below the place."""
    if not 1 <= problem.line <= len(lines):
        return ""
    return f"{lines[problem.line - 1]}\n{' ' * (problem.column - 1)}^"
