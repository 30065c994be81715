"""Columns that say which row is the earliest: what they spell decides, not how they are stored."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.earliest import read_instants, sortable
from pipeline.errors import ConfigError

WHERE = "dedup.earliest_column"


def order(values: list[Any], dtype: Any = None) -> list[int]:
    read = sortable(pl.Series("day", values, dtype=dtype, strict=False), WHERE)
    return pl.select(pl.lit(read).arg_sort(nulls_last=True)).to_series().to_list()


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([3, None, 1, 2], pl.Int32),
        ([3.0, float("nan"), 1.5, 2.0], pl.Float64),
        ([date(2021, 3, 1), None, date(2020, 1, 1), date(2021, 2, 1)], pl.Date),
        ([datetime(2021, 3, 1), None, datetime(2020, 1, 1), datetime(2021, 2, 1)], pl.Datetime("ns")),
        (["2021-03-01", "", "2020-01-01", "2021-02-01T05:00:00Z"], pl.String),
        (["2021-03", None, "2020", "2021-02-01 05:00"], pl.String),
        (["1000", " ", "-5", "999"], pl.String),
        (["v3", None, "v1", "v2"], pl.Categorical),
    ],
)
def test_every_kind_of_column_sorts_by_what_it_means(values: list[Any], dtype: Any) -> None:
    """Third, fourth, first; null, NaN and blank text last."""
    assert order(values, dtype) == [2, 3, 0, 1]


def test_offsets_count_and_none_is_utc() -> None:
    """Noon two hours east of Greenwich is before eleven in Greenwich, whatever the letters say."""
    assert order(["2021-01-01T11:00:00", "2021-01-01T12:00:00+02:00", "2021-01-01T09:30-0100", "2021-01-01T10:00:00.5Z"]) == [1, 3, 2, 0]


@settings(max_examples=200, deadline=None)
@given(
    instant=st.datetimes(min_value=datetime(1000, 1, 1), max_value=datetime(9000, 1, 1)),
    minutes=st.integers(-14 * 60, 14 * 60),
    separator=st.sampled_from("T "),
)
def test_iso_text_is_read_as_python_reads_it(instant: datetime, minutes: int, separator: str) -> None:
    """Date, time, fraction and offset of any instant."""
    aware = instant.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert read_instants(pl.Series([aware.isoformat(separator)])).to_list() == [aware.astimezone(UTC)]


@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=12) | st.from_regex(r"\A[0-9:T Z+.-]{1,24}\Z"))
def test_whatever_is_read_is_a_date_to_python_too(text: str) -> None:
    """Nothing but a date becomes one: what the reader takes begins with a year, and a full date in it is a real one."""
    if read_instants(pl.Series([text], dtype=pl.String)).is_not_null().all():
        assert text[:4].isdigit()
        if len(text) >= 10 and text[:4] != "0000":
            date.fromisoformat(text[:10])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (["2021-01-01", "soon"], r"mixes kinds of text.*dedup\.earliest_column.*day: of 2 values 1 dates, 0 numbers, 1 neither"),
        (["2021-13-01", "2021-01-01", None], r"of 2 values 1 dates, 0 numbers, 1 neither"),
        (["2021-01-01", "5"], r"of 2 values 1 dates, 1 numbers, 0 neither.*leave unknown ones empty"),
        ([True, False], r"cannot say which row is the earliest.*day: Boolean.*leave 'earliest' out"),
        ([[1], [2]], r"day: List"),
        ([{"a": 1}], r"day: Struct"),
        ([b"x"], r"day: Binary"),
    ],
)
def test_columns_without_a_common_order_are_refused(values: list[Any], message: str) -> None:
    """The message counts kinds and shows no value."""
    with pytest.raises(ConfigError, match=message) as caught:
        order(values)
    assert "soon" not in str(caught.value)


def test_digits_of_other_scripts_are_text() -> None:
    """They spell no number that could be read, so they are compared as text."""
    assert order(["\u0662\u0660\u0662\u0661", "\u0661\u0669\u0669\u0669"]) == [1, 0]
