"""YAML with places: every value knows its line, and every problem is collected instead of raised."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import yaml

from rpacs_hub.errors import PermissionsError, Problem

__all__ = ["Reader", "Value"]

_WORDS = {yaml.MappingNode: "a mapping", yaml.SequenceNode: "a list", yaml.ScalarNode: "a text"}


@dataclass(frozen=True)
class Value:
    """A text of the file and where it stands (both numbers count from 1)."""

    text: str
    line: int
    column: int


@dataclass
class Reader:
    """Reads one YAML text by a closed schema.

    Attributes
    ----------
    problems
        What was found so far, in no particular order.
    """

    problems: list[Problem] = field(default_factory=list)

    def root(self, text: str) -> yaml.Node | None:
        """Return the document's root node, or None when the file is empty.

        Raises
        ------
        PermissionsError
            The text is not YAML at all, so that there is nothing to collect problems of.
        """
        try:
            return yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            raise PermissionsError(
                [Problem(line, column, f"This is not YAML: {error.problem or error.context}.")]
            ) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise PermissionsError([Problem(1, 1, f"This is not YAML: {str(error).splitlines()[0]}.")]) from None

    def problem(self, at: yaml.Node | Value, message: str, hint: str = "") -> None:
        """Note a problem at a place."""
        if isinstance(at, Value):
            self.problems.append(Problem(at.line, at.column, message, hint))
        else:
            mark = at.start_mark
            self.problems.append(Problem(mark.line + 1, mark.column + 1, message, hint))

    def fail(self) -> None:
        """Raise everything that was noted, in the file's order, if anything was."""
        if self.problems:
            raise PermissionsError(sorted(self.problems, key=lambda problem: (problem.line, problem.column)))

    def pairs(self, node: yaml.Node, what: str) -> Iterator[tuple[Value, yaml.Node]]:
        """Yield the keys and values of a mapping; a key that comes twice is a problem, as is anything else."""
        if not isinstance(node, yaml.MappingNode):
            self.problem(node, f"{what} is {self.kind(node)}.", "It must be a mapping (Key: value).")
            return
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self.text(key_node, f"A key of {what}")
            if key is None:
                continue
            if key.text in seen:
                self.problem(key, f"{key.text!r} comes twice in {what}.", f"It is on line {seen[key.text]} already.")
                continue
            seen[key.text] = key.line
            yield key, value_node

    def fields(self, node: yaml.Node, what: str, allowed: Iterable[str]) -> dict[str, tuple[Value, yaml.Node]]:
        """Return the entries of a mapping whose keys are fixed; each unknown key is a problem with a suggestion."""
        allowed = tuple(allowed)
        found: dict[str, tuple[Value, yaml.Node]] = {}
        for key, value in self.pairs(node, what):
            if key.text in allowed:
                found[key.text] = (key, value)
            else:
                self.problem(key, f"{what} has no key {key.text!r}.", nearest(key.text, allowed))
        return found

    def items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        """Return the items of a list."""
        if isinstance(node, yaml.SequenceNode):
            return list(node.value)
        self.problem(node, f"{what} is {self.kind(node)}.", "It must be a list (lines that begin with '- ').")
        return []

    def text(self, node: yaml.Node, what: str, *, may_be_empty: bool = False) -> Value | None:
        """Return a text, or None after noting why it is none."""
        if not isinstance(node, yaml.ScalarNode):
            self.problem(node, f"{what} is {self.kind(node)}.", "It must be a text.")
            return None
        mark = node.start_mark
        value = Value("" if self.is_null(node) else str(node.value).strip(), mark.line + 1, mark.column + 1)
        if not value.text and not may_be_empty:
            self.problem(value, f"{what} is empty.", "Write a text, or leave the key out.")
            return None
        return value

    def texts(self, node: yaml.Node, what: str) -> list[Value]:
        """Return a list of texts; a single text counts as a list of one."""
        nodes = [node] if isinstance(node, yaml.ScalarNode) else self.items(node, what)
        found = (self.text(item, f"An entry of {what}") for item in nodes)
        return [value for value in found if value is not None]

    @staticmethod
    def is_null(node: yaml.Node) -> bool:
        """Whether nothing was written where a value belongs."""
        return bool(node.tag == "tag:yaml.org,2002:null")

    @staticmethod
    def kind(node: yaml.Node) -> str:
        """Return in words what a node is."""
        return "empty" if Reader.is_null(node) else _WORDS.get(type(node), "something else")


def nearest(word: str, allowed: Iterable[str]) -> str:
    """Return a hint that names the word that was probably meant, or all that are possible."""
    allowed = tuple(allowed)
    by_case = {name.casefold(): name for name in allowed}
    close = difflib.get_close_matches(word.casefold(), by_case, n=1, cutoff=0.6)
    if close:
        return f"Did you mean {by_case[close[0]]!r}?"
    return f"Possible: {', '.join(allowed)}." if 0 < len(allowed) <= 12 else ""
