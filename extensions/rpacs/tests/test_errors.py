import inspect
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rpacs
from rpacs import _errors


def test_the_drawn_tree_is_the_real_one():
    drawn = re.findall(r"[├└]── (\w+)", _errors.__doc__)
    real = [
        name for name, kind in vars(_errors).items() if inspect.isclass(kind) and issubclass(kind, rpacs.RpacsError)
    ]
    assert sorted([*drawn, "RpacsError"]) == sorted(real)
    assert set(real) <= set(rpacs.__all__)


def test_all_is_complete():
    assert all(hasattr(rpacs, name) for name in rpacs.__all__)
    assert sorted(rpacs.__all__, key=lambda n: (not n[0].isupper(), n)) == rpacs.__all__


@given(st.text(alphabet=st.characters(exclude_categories=("Cc", "Cs")), max_size=300), st.integers(-5, 400))
def test_the_caret_is_under_the_position(query, position):
    error = rpacs.QueryError("Wrong.", query=query, position=position)
    line, caret = error.caret().split("\n")
    assert len(line) <= 101
    column = caret.index("^")
    if error.position < len(query):
        assert line[column] == query[error.position]
    else:
        assert column == len(line)


def test_the_caret_stays_in_its_line():
    error = rpacs.QueryError("Wrong.", query="A Exists AND\nB Wrong\nOR C Exists", position=15)
    assert error.caret() == "B Wrong\n  ^"


@pytest.mark.parametrize("query", ["", "x"])
def test_query_error_text(query):
    text = str(rpacs.QueryError("Wrong.", "Do this.", query=query))
    assert text.startswith("Wrong.")
    assert text.endswith("Do this.")
