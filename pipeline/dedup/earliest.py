"""Read a user's column as something whose smallest value is the earliest: dates and numbers as they are, text as what it spells.

Text is read as ISO 8601 points in time if every value is one, as numbers if every value is one, and compared as text if no value is
either. A mixture has no order that anybody meant, so it is refused. Blank text is no date: like null and NaN it comes last.
"""

from __future__ import annotations

import polars as pl

from pipeline.errors import ConfigError

ISO = (
    r"^([0-9]{4})(?:-([0-9]{2})(?:-([0-9]{2})"  # year, month, day
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,6})[0-9]*)?)?"  # hour, minute, second, fraction
    r" ?(Z|[+-][0-9]{2}(?::?[0-9]{2})?)?)?)?)?$"  # offset
)
NUMBER = r"^[+-]?[0-9]+(?:\.[0-9]+)?$"


def sortable(values: pl.Series, where: str) -> pl.Series:
    """Return values that sort from the earliest on, null where there is none; points in time without an offset are UTC.

    Raises: ConfigError naming the column and its type, or how much of its text is no date.
    """
    kind = values.dtype
    if kind.is_float():
        return values.fill_nan(None)
    if kind.is_numeric() or kind.is_temporal() or kind == pl.Null:
        return values
    if kind in (pl.Categorical, pl.Enum):
        values = values.cast(pl.String)
    if values.dtype != pl.String:
        raise ConfigError(
            "the column cannot say which row is the earliest",
            where=where,
            wanted="dates, points in time, numbers or text",
            got=f"{values.name}: {kind}",
            do="name another column, or leave 'earliest' out of dedup.keep",
        )
    return _of_text(values.str.strip_chars().replace("", None), where)


def _of_text(text: pl.Series, where: str) -> pl.Series:
    num_values = len(text) - text.null_count()
    instants = read_instants(text)
    is_number = text.str.contains(NUMBER)
    num_instants, num_numbers = len(text) - instants.null_count(), int(is_number.sum())
    if num_instants == num_values:
        return instants
    if num_numbers == num_values:
        return text.cast(pl.Float64)
    if num_instants or num_numbers:
        unread = num_values - int((instants.is_not_null() | is_number).sum())
        raise ConfigError(
            "the column mixes kinds of text that have no common order",
            where=where,
            wanted="all ISO 8601 dates or all numbers",
            got=f"{text.name}: of {num_values} values {num_instants} dates, {num_numbers} numbers, {unread} neither",
            do="write all in one form and leave unknown ones empty",
        )
    return text


def read_instants(text: pl.Series) -> pl.Series:
    """Return ISO 8601 years, months, days and times as microseconds in UTC, null for anything else."""
    part = text.str.extract_groups(ISO).struct
    year, month, day, hour, minute, second, fraction, offset = (part.field(str(group)) for group in range(1, 9))
    date = year + "-" + month.fill_null("01") + "-" + day.fill_null("01")
    time = "T" + hour.fill_null("00") + ":" + minute.fill_null("00") + ":" + second.fill_null("00") + "." + fraction.fill_null("0")
    shift = offset.replace("Z", "+0000").fill_null("+0000").str.replace(":", "", literal=True).str.pad_end(5, "0")
    return (date + time + shift).str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
