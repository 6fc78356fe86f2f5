"""What the package raises.

One tree; every error knows the text it complains about and where in it the trouble starts::

    DicomQueryError (ValueError)
    ├── TagPathError        a tag path cannot be read
    ├── TagPatternError     a tag path pattern cannot be read
    └── QueryError          a query cannot be read
        └── QueryTooLargeError  it could be read, but is beyond the limits
"""

from __future__ import annotations

from collections.abc import Sequence

_WINDOW = 72


class DicomQueryError(ValueError):
    """A text of this package's languages that cannot be used.

    Parameters
    ----------
    message
        What is wrong, one sentence without the position.
    text
        The whole text that was being read.
    position
        Offset of the first offending character in `text`, from 0; ``len(text)`` where the text ends too early.
    expected
        What could have stood there instead, in words.
    hint
        How to put it right, where that can be guessed.

    Attributes
    ----------
    message, text, position, expected, hint
        As given.

    Notes
    -----
    ``str(error)`` is meant for people: the message, the line with a caret under the position, what was expected and the
    hint, on lines of their own.
    """

    def __init__(
        self,
        message: str,
        *,
        text: str = "",
        position: int = 0,
        expected: Sequence[str] = (),
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.text = text
        self.position = max(0, min(position, len(text)))
        self.expected = tuple(expected)
        self.hint = hint

    @property
    def line(self) -> int:
        """Line of the position, from 1."""
        return self.text.count("\n", 0, self.position) + 1

    @property
    def column(self) -> int:
        """Column of the position in its line, from 1."""
        return self.position - (self.text.rfind("\n", 0, self.position) + 1) + 1

    def pointer(self) -> str:
        """Return the line with the trouble and a caret under its first character.

        Returns
        -------
        str
            Two lines. Long lines are cut around the caret; characters that would move the caret are shown as spaces.
        """
        start = self.text.rfind("\n", 0, self.position) + 1
        end = self.text.find("\n", self.position)
        line = self.text[start : len(self.text) if end < 0 else end]
        caret = self.position - start
        if len(line) > _WINDOW:
            left = max(0, min(caret - _WINDOW // 2, len(line) - _WINDOW))
            before = "…" if left else ""
            after = "…" if left + _WINDOW < len(line) else ""
            line = before + line[left : left + _WINDOW] + after
            caret += len(before) - left
        shown = "".join(character if character.isprintable() else " " for character in line)
        return f"{shown}\n{' ' * caret}^"

    def __str__(self) -> str:
        place = f"character {self.position + 1}" if "\n" not in self.text else f"line {self.line}, column {self.column}"
        lines = [f"{self.message} ({place})"]
        if self.text:
            lines.append(self.pointer())
        if self.expected:
            lines.append(f"expected: {' or '.join(self.expected)}")
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class TagPathError(DicomQueryError):
    """A tag path that cannot be read."""


class TagPatternError(DicomQueryError):
    """A tag path pattern that cannot be read, or that no element could ever match."""


class QueryError(DicomQueryError):
    """A query that cannot be read."""


class QueryTooLargeError(QueryError):
    """A query beyond the limits on length, number of conditions, depth or wildcards."""
