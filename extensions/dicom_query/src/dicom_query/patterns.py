"""Tag path patterns: which elements of a dataset a rule speaks of.

========================  ==============================================================================
``PatientName``           the element with that keyword (any case)
``*Date``                 keywords with ``*`` for any characters; here upper and lower case count
``0010XXXX``, ``XXX@XXXX``  8 hexadecimal digits, ``X`` any digit, ``@`` any odd digit
``0029{SIEMENS CSA}XX``   private elements of that group and private creator
``{PN}``                  every element of that value representation
``A.B``                   B directly in an item of the sequence A; any of the forms above, joined by dots
========================  ==============================================================================

Without a prefix the first part is at the top level; ``*/`` in front means anywhere, ``+/`` anywhere but at the top
level. A pattern matches sequences like any other element; it does not reach into the items of one it matches.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache

from pydicom._dicom_dict import RepeatersDictionary
from pydicom.valuerep import VR

from ._wildcards import wildcard_match
from .errors import TagPathError, TagPatternError
from .tags import ElementPath, PathStep, keyword_of, known_keywords, nearest, nearest_keyword, parse_tag

_PART = re.compile(
    r"""(?P<private>(?P<group>[0-9A-FX@]{4})\{(?P<creator>[^}]+)\}(?P<element>[0-9A-FX@]{2}))
      | \{(?P<vr>[^}]*)\}
      | (?P<number>[0-9A-FX@]{8})(?![0-9A-Za-z*])
      | (?P<keyword>[A-Za-z0-9*]+)""",
    re.VERBOSE | re.IGNORECASE,
)
_PART_FORMS = ("a keyword (with *)", "8 digits of 0-9 A-F X @", "gggg{Private creator}ee", "{VR}")
_VRS = frozenset(str(vr.value) for vr in VR if len(vr.value) == 2)

_REMEMBERED = 20_000

_StepTest = Callable[[int, "str | None", "str | None"], bool]


class Anchor(Enum):
    """Where in a dataset a pattern may begin."""

    TOP = ""
    """The first part is at the top level."""
    ANYWHERE = "*/"
    """At any level."""
    NESTED = "+/"
    """At any level but the top one."""


@dataclass(frozen=True, slots=True)
class TagPattern:
    """One tag path pattern, compiled. Make it with :meth:`parse`.

    Attributes
    ----------
    text
        What was parsed; two patterns are equal if their texts are.
    anchor
        Where it may begin.
    """

    text: str
    anchor: Anchor = field(compare=False)
    _tests: tuple[_StepTest, ...] = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> TagPattern:
        """Read a pattern.

        Parameters
        ----------
        text
            The pattern; spaces around it do not count.

        Returns
        -------
        TagPattern
            The compiled pattern.

        Raises
        ------
        TagPatternError
            It cannot be read, or no element could ever match it: an unknown keyword, a keyword with ``*`` that is the
            name of nothing, an unknown VR. A rule that silently never matches would leave identities in place.
        """
        text = text.strip()
        anchor = next((each for each in (Anchor.ANYWHERE, Anchor.NESTED) if text.startswith(each.value)), Anchor.TOP)
        position = len(anchor.value)
        tests: list[_StepTest] = []
        while True:
            part = _PART.match(text, position)
            if part is None:
                raise _cannot_stand(text, position, _PART_FORMS)
            if part["keyword"] is not None and text.startswith("{", part.end()):
                raise _cannot_stand(text, part.end(), _PART_FORMS)
            tests.append(_compile_part(part, text))
            position = part.end()
            if position == len(text):
                return cls(text, anchor, tuple(tests))
            if text[position] != ".":
                raise _cannot_stand(text, position, ("a dot and a further part", "the end of the pattern"))
            position += 1

    def matches(self, path: ElementPath) -> bool:
        """Tell whether the element at `path` is meant.

        Parameters
        ----------
        path
            The element's place, with the VR and the private creator of each step. Item numbers play no part.

        Returns
        -------
        bool
            True if it is. Inside a loop over many elements :meth:`PatternSet.level` is the quick way.
        """
        surplus = len(path) - len(self._tests)
        if surplus < 0 or (surplus if self.anchor is Anchor.TOP else self.anchor is Anchor.NESTED and not surplus):
            return False
        return all(
            test(step.tag, step.vr, step.creator) for test, step in zip(self._tests, path[surplus:], strict=True)
        )

    def last_test(self, parents: ElementPath) -> _StepTest | None:
        """Return the test that an element below `parents` must still pass, or None if none of them can match.

        Parameters
        ----------
        parents
            The sequences on the way down to the element; empty at the top level.
        """
        surplus = len(parents) + 1 - len(self._tests)
        if surplus < 0 or (surplus if self.anchor is Anchor.TOP else self.anchor is Anchor.NESTED and not surplus):
            return None
        above = zip(self._tests[:-1], parents[surplus:], strict=True)
        return self._tests[-1] if all(test(step.tag, step.vr, step.creator) for test, step in above) else None

    def __str__(self) -> str:
        return self.text


class PatternLevel:
    """The patterns of a :class:`PatternSet` that can still match among the elements of one item (or the top level).

    Answers are remembered by (tag, vr, creator), so that asking again is one dictionary look-up.
    """

    __slots__ = ("_answers", "_tests")

    def __init__(self, tests: Iterable[_StepTest]) -> None:
        self._tests = tuple(tests)
        self._answers: dict[tuple[int, str | None, str | None], bool] = {}

    def __bool__(self) -> bool:
        """Tell whether anything at this level can match at all."""
        return bool(self._tests)

    def matches(self, tag: int, vr: str | None, creator: str | None = None) -> bool:
        """Tell whether any pattern means this element of the level.

        Parameters
        ----------
        tag
            ``0xGGGGEEEE``.
        vr
            Its value representation; None matches no ``{VR}``.
        creator
            Its private creator, if it is private and has one. Give None for the creator element itself.
        """
        key = (tag, vr, creator)
        answer = self._answers.get(key)
        if answer is None:
            answer = any(test(tag, vr, creator) for test in self._tests)
            if len(self._answers) < _REMEMBERED:  # creators come from files: bound what they can make us keep
                self._answers[key] = answer
        return answer


class PatternSet:
    """Several patterns that are asked together whether any of them means an element.

    Parameters
    ----------
    patterns
        Patterns, or texts of patterns.

    Raises
    ------
    TagPatternError
        A text cannot be read.

    Examples
    --------
    >>> names = PatternSet(["*/{PN}", "+/*Date"])
    >>> top = names.level(())
    >>> top.matches(0x00100010, "PN"), top.matches(0x00080020, "DA")
    (True, False)
    >>> names.level((PathStep(0x00400275, "SQ"),)).matches(0x00080020, "DA")
    True
    """

    __slots__ = ("_levels", "patterns")

    def __init__(self, patterns: Iterable[TagPattern | str] = ()) -> None:
        self.patterns: tuple[TagPattern, ...] = tuple(
            TagPattern.parse(pattern) if isinstance(pattern, str) else pattern for pattern in patterns
        )
        self._levels: dict[ElementPath, PatternLevel] = {}

    def level(self, parents: ElementPath = ()) -> PatternLevel:
        """Return the matcher for the elements directly below `parents`.

        Parameters
        ----------
        parents
            The sequences on the way down, each with its VR (``"SQ"``) and private creator; ``()`` for the top level.
            Item numbers play no part: the matcher is the same one for every item.

        Returns
        -------
        PatternLevel
            Remembered, so fetch it once per item and ask it per element. Safe to share between threads.
        """
        key = tuple(PathStep(step.tag, step.vr, step.creator) for step in parents)
        level = self._levels.get(key)
        if level is None:
            tests = (pattern.last_test(key) for pattern in self.patterns)
            level = PatternLevel(test for test in tests if test is not None)
            if len(self._levels) < _REMEMBERED:
                self._levels[key] = level
        return level

    def matches(self, path: ElementPath) -> bool:
        """Tell whether any pattern means the element at `path` (see :meth:`TagPattern.matches`)."""
        last = path[-1]
        return self.level(path[:-1]).matches(last.tag, last.vr, last.creator)

    def matching(self, path: ElementPath) -> TagPattern | None:
        """Return the first pattern that means the element at `path`, for reports that say why; None if none does."""
        return next((pattern for pattern in self.patterns if pattern.matches(path)), None)

    def __bool__(self) -> bool:
        """Tell whether there is any pattern."""
        return bool(self.patterns)

    def __iter__(self) -> Iterator[TagPattern]:
        return iter(self.patterns)

    def __len__(self) -> int:
        return len(self.patterns)


def _cannot_stand(text: str, position: int, expected: tuple[str, ...]) -> TagPatternError:
    message = f"{text[position]!r} cannot stand here" if position < len(text) else "the pattern ends too early"
    hint = None
    if position < len(text) and text[position] == "[":
        hint = "patterns take no item number: A.B means B in every item of A"
    elif position < len(text) and text[position] == "{":
        hint = "a private creator stands between 4 group digits and 2 element digits, as 0029{SIEMENS CSA HEADER}XX"
    return TagPatternError(message, text=text, position=position, expected=expected, hint=hint)


def _compile_part(part: re.Match[str], text: str) -> _StepTest:
    if part["private"] is not None:
        return _private_test(part["group"], part["creator"], part["element"])
    if part["vr"] is not None:
        return _vr_test(part, text)
    if part["number"] is not None:
        return _number_test(part["number"])
    return _keyword_test(part, text)


def _masked(digits: str) -> tuple[int, int]:
    """Return (mask, value) so that a number matches the digits if ``number & mask == value``."""
    mask = value = 0
    for digit in digits.upper():
        digit_mask, digit_value = {"X": (0, 0), "@": (1, 1)}.get(digit) or (0xF, int(digit, 16))
        mask, value = mask << 4 | digit_mask, value << 4 | digit_value
    return mask, value


def _number_test(digits: str) -> _StepTest:
    mask, value = _masked(digits)
    return lambda tag, _vr, _creator: tag & mask == value


def _private_test(group: str, creator_text: str, element: str) -> _StepTest:
    # Between group and element lies the block number, which each file assigns as it likes (PS3.5 section 7.8.1).
    mask, value = _masked(group + "XX" + element)
    wanted = creator_text.strip(" ")
    return lambda tag, _vr, creator: (
        creator is not None and tag & 0x10000 != 0 and tag & mask == value and creator.strip(" \0") == wanted
    )


def _vr_test(part: re.Match[str], text: str) -> _StepTest:
    wanted = part["vr"].upper()
    if wanted not in _VRS:
        close = nearest(wanted, _VRS)
        raise TagPatternError(
            f"{{{part['vr']}}} is not a value representation",
            text=text,
            position=part.start(),
            expected=("a value representation of DICOM PS3.5 section 6.2, as {PN}",),
            hint=f"did you mean {{{close}}}?" if close else None,
        )
    return lambda _tag, vr, _creator: vr == wanted


@lru_cache(maxsize=1)
def _all_keywords() -> frozenset[str]:
    return frozenset(known_keywords()) | {entry[4] for entry in RepeatersDictionary.values() if entry[4]}


def _keyword_test(part: re.Match[str], text: str) -> _StepTest:
    word = part["keyword"]
    if "*" in word:
        pieces = word.split("*")
        keywords = frozenset(keyword for keyword in _all_keywords() if wildcard_match(pieces, keyword))
        if not keywords:
            pieces = word.casefold().split("*")
            known = next((each for each in sorted(_all_keywords()) if wildcard_match(pieces, each.casefold())), None)
            raise TagPatternError(
                f"no DICOM keyword is like {word}",
                text=text,
                position=part.start(),
                expected=_PART_FORMS,
                hint=f"upper and lower case count beside a *: {known}" if known else None,
            )
        return lambda tag, _vr, _creator: keyword_of(tag) in keywords
    folded = word.casefold()
    shared = next((keyword for keyword in _all_keywords() if keyword.casefold() == folded), None)
    if shared is None:
        close = nearest_keyword(word)
        raise TagPatternError(
            f"{word} is not a DICOM keyword",
            text=text,
            position=part.start(),
            expected=_PART_FORMS,
            hint=f"did you mean {close}?" if close else None,
        )
    try:
        wanted = parse_tag(shared)
    except TagPathError:  # a keyword that repeating groups share, as OverlayData
        return lambda tag, _vr, _creator: keyword_of(tag) == shared
    return lambda tag, _vr, _creator: tag == wanted
