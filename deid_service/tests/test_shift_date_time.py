from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deid_service.transforms.shift_date_time import shift_date, shift_date_time, shift_time

DAYS = timedelta(days=10)


@pytest.mark.parametrize(
    ("value", "days", "expected"),
    [
        ("20240228", 1, "20240229"),
        ("20230228", 1, "20230301"),
        ("20240101", -1, "20231231"),
        ("2024.02.28", 2, "2024.03.01"),
        ("202401", 20, "202402"),
        ("202401", 3, "202401"),
        ("2024", 200, "2025"),
        ("2024", 10, "2024"),
        ("00010101", 5, "00010106"),
        ("00010101", -5, None),
        ("99991231", 1, None),
        ("20240230", 1, None),
        ("00000000", 1, None),
        ("2024-01-01", 1, None),
        ("20240101-20240201", 1, None),
        ("\uff12\uff10\uff12\uff14\uff10\uff11\uff10\uff11", 1, None),
        ("unknown", 1, None),
    ],
)
def test_dates(value: str, days: int, expected: str | None) -> None:
    assert shift_date(value, days) == expected


@pytest.mark.parametrize(
    ("value", "seconds", "expected"),
    [
        ("101530", 45, "101615"),
        ("101530.25", 45, "101615.25"),
        ("101530.000001", -30, "101500.000001"),
        ("235959", 2, "000001"),
        ("000000", -1, "235959"),
        ("1015", 60, "1016"),
        ("10", 7200, "12"),
        ("10:15:30", 30, "10:16:00"),
        ("235960", 1, "000001"),
        ("240000", 1, None),
        ("106000", 1, None),
        ("101530.1234567", 1, None),
        ("noon", 1, None),
    ],
)
def test_times(value: str, seconds: int, expected: str | None) -> None:
    assert shift_time(value, seconds) == expected


@pytest.mark.parametrize(
    ("value", "step", "expected"),
    [
        ("20240228235959.123456+0100", timedelta(seconds=1), "20240229000000.123456+0100"),
        ("20240228235959-0530", DAYS, "20240309235959-0530"),
        ("2024022823", DAYS, "2024030923"),
        ("20240228", DAYS, "20240309"),
        ("202402", timedelta(days=30), "202403"),
        ("2024", timedelta(days=366), "2025"),
        ("2024+0100", timedelta(days=1), "2024+0100"),
        ("20161231235960", timedelta(0), "20170101000000"),
        ("99991231", DAYS, None),
        ("20240230", DAYS, None),
        ("20240101250000", DAYS, None),
        ("2024010", DAYS, None),
        ("yesterday", DAYS, None),
    ],
)
def test_dates_with_times(value: str, step: timedelta, expected: str | None) -> None:
    assert shift_date_time(value, step) == expected


@given(
    st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.dates(date(1900, 1, 1), date(2100, 1, 1)), st.integers(-5000, 5000)
)
def test_intervals_survive(first: date, second: date, days: int) -> None:
    def parse(text: str) -> date:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))

    moved = [parse(shift_date(day.strftime("%Y%m%d"), days) or "") for day in (first, second)]
    assert moved[1] - moved[0] == second - first
    stamps = [parse(shift_date_time(day.strftime("%Y%m%d1200"), timedelta(days=days)) or "") for day in (first, second)]
    assert stamps == moved
