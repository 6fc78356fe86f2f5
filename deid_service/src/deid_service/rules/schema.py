"""Reading YAML against a closed schema.

Works on YAML nodes rather than on values, so that every complaint has a line and column, so that a key given twice is
seen, and so that words mean what they look like: ``00100010`` is a tag and not an octal number, ``NO`` a label and not
"false". A complaint is collected, never raised: the reader of the report wants all of them at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from deid_service.errors import Problem
from dicom_query import PatternSet, TagPattern, TagPatternError

__all__ = ["Problems", "nearest_word"]

_NULL = "tag:yaml.org,2002:null"
_MAX_SIZE = 2_000_000


def nearest_word(word: str, known: Collection[str]) -> str:
    """Suggest the known word that an unknown one was probably meant to be.

    Parameters
    ----------
    word : str
        What somebody wrote.
    known : collection of str
        What would have been right.

    Returns
    -------
    str
        A hint such as ``did you mean "Labels"?``, or the list of what is known; empty if nothing is.
    """
    by_fold = {candidate.casefold(): candidate for candidate in known}
    close = difflib.get_close_matches(word.casefold(), list(by_fold), n=1, cutoff=0.5)
    if close:
        return f'did you mean "{by_fold[close[0]]}"?'
    return f"known: {', '.join(sorted(known))}" if known else ""


class Problems:
    """Reads nodes and collects what is wrong with them.

    Every ``read_...`` method returns None (or an empty collection) after it has noted a problem, so that reading goes
    on and finds the next.

    Attributes
    ----------
    found : list of Problem
        Everything noted so far.
    """

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def add(self, node: Node | None, message: str, hint: str = "") -> None:
        """Note a problem at a node's position."""
        mark = node.start_mark if node is not None else None
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        problem = Problem(line, column, message, hint)
        if problem not in self.found:
            self.found.append(problem)

    def read_document(self, text: str) -> Node | None:
        """Parse YAML text into its one document.

        Parameters
        ----------
        text : str
            The file's content.

        Returns
        -------
        Node or None
            None if it is not YAML, is empty, or holds several documents.
        """
        if len(text) > _MAX_SIZE:
            self.add(None, f"the file has more than {_MAX_SIZE} characters")
            return None
        try:
            document: Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            self.found.append(Problem(line, column, f"not valid YAML: {error.problem or error.context}"))
            return None
        except (yaml.YAMLError, RecursionError) as error:
            self.add(None, f"not valid YAML: {type(error).__name__}")
            return None
        if document is None:
            self.add(None, "the file is empty")
        return document

    def read_mapping(
        self, node: Node | None, what: str, keys: Collection[str], aliases: Mapping[str, str] | None = None
    ) -> dict[str, Node]:
        """Read a mapping whose keys are known in advance.

        Parameters
        ----------
        node : Node or None
            What should be a mapping.
        what : str
            What it is, for the message.
        keys : collection of str
            The keys that exist.
        aliases : mapping of str to str, optional
            Older spellings and the keys they stand for.

        Returns
        -------
        dict of str to Node
            By the key's present spelling.
        """
        if not isinstance(node, MappingNode):
            if node is not None:
                self.add(node, f"{what} must be a mapping of keys to values")
            return {}
        aliases = aliases or {}
        found: dict[str, Node] = {}
        for key_node, value in node.value:
            if not isinstance(key_node, ScalarNode):
                self.add(key_node, f"{what} has a key that is not a word")
                continue
            written = str(key_node.value)
            key = aliases.get(written, written)
            if key not in keys:
                self.add(key_node, f'"{written}" is not a key of {what}', nearest_word(written, keys))
            elif key in found:
                self.add(key_node, f'"{written}" is given twice in {what}', "keep one of them")
            else:
                found[key] = value
        return found

    def require(self, node: Node | None, mapping: Mapping[str, Node], what: str, *keys: str) -> None:
        """Note every key of `keys` that `mapping` lacks."""
        for key in keys:
            if key not in mapping:
                self.add(node, f'{what} lacks "{key}"')

    def read_list(self, node: Node | None, what: str, *, single: bool = False) -> Sequence[Node]:
        """Read a list; with `single`, anything that is not a list counts as a list of one."""
        if node is None:
            return ()
        if isinstance(node, SequenceNode):
            if not node.value:
                self.add(node, f"{what} is empty")
            items: Sequence[Node] = node.value
            return items
        if single and node.tag != _NULL:
            return (node,)
        self.add(node, f"{what} must be a list")
        return ()

    def read_text(self, node: Node | None, what: str, *, empty: bool = False) -> str | None:
        """Read a word or text exactly as it is written; `empty` allows ``""``."""
        if node is None:
            return None
        if not isinstance(node, ScalarNode) or node.tag == _NULL:
            self.add(node, f"{what} must be a text")
            return None
        text = str(node.value)
        if not text.strip() and not empty:
            self.add(node, f"{what} is empty")
            return None
        return text

    def read_texts(self, node: Node | None, what: str) -> list[tuple[str, Node]]:
        """Read a text or a list of texts, each with its node."""
        texts = []
        for item in self.read_list(node, what, single=True):
            text = self.read_text(item, what)
            if text is not None:
                texts.append((text.strip(), item))
        return texts

    def read_integer(self, node: Node | None, what: str) -> int | None:
        """Read a whole number."""
        text = self.read_text(node, what)
        if text is None:
            return None
        try:
            return int(text.strip())
        except ValueError:
            self.add(node, f"{what} must be a whole number, not {text!r}")
            return None

    def read_boolean(self, node: Node | None, what: str) -> bool:
        """Read ``true`` or ``false``, False if absent."""
        if node is None:
            return False
        text = node.value.casefold() if isinstance(node, ScalarNode) else None
        if text in ("true", "yes", "on"):
            return True
        if text not in ("false", "no", "off"):
            self.add(node, f"{what} must be true or false")
        return False

    def read_choice(self, node: Node | None, what: str, choices: Collection[str]) -> str | None:
        """Read one of several words."""
        text = self.read_text(node, what)
        if text is None:
            return None
        if text not in choices:
            self.add(node, f"{what} cannot be {text!r}", nearest_word(text, choices))
            return None
        return text

    def read_names(self, node: Node | None, kind: str, known: Collection[str]) -> frozenset[str]:
        """Read names of labels or categories, one or a list; unknown ones are noted and left out."""
        names = set()
        if node is not None:
            for name, item in self.read_texts(node, f"a list of names ({kind})"):
                if name in known:
                    names.add(name)
                else:
                    self.add(item, f'there is no {kind} "{name}"', nearest_word(name, known))
        return frozenset(names)

    def read_patterns(self, node: Node | None, what: str) -> PatternSet:
        """Read tag path patterns, one or a list."""
        patterns: list[TagPattern] = []
        for text, item in self.read_texts(node, what):
            try:
                patterns.append(TagPattern.parse(text))
            except TagPatternError as error:
                hint = error.hint or (f"expected {' or '.join(error.expected)}" if error.expected else "")
                self.add(item, f"{text!r} is not a tag path pattern: {error.message}", hint)
        return PatternSet(patterns)
