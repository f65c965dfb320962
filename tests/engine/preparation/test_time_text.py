"""Text that is a time, with Python's calendar as the oracle."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engine.columns import Column, Dataset, FeatureKind
from proxy.engine.preparation.time_text import text_seconds, with_times
from tests.engine.estimator_checks import fit

MOMENTS = st.datetimes(timezones=st.just(UTC))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@given(MOMENTS, st.sampled_from(["%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M:%S"]))
def test_seconds_are_the_calendars(moment: datetime, form: str) -> None:
    """Each form means the moment that Python reads in it."""
    text = moment.strftime(form.replace("%Y", f"{moment.year:04d}"))
    read = datetime.strptime(text, form).replace(tzinfo=UTC)
    assert text_seconds(text) == (read - EPOCH) / timedelta(seconds=1)


def test_a_month_is_its_first_day() -> None:
    """The seed's `2025-01` is midnight of January 1; day 30 of February is two days into March."""
    assert text_seconds("2025-01") == datetime(2025, 1, 1, tzinfo=UTC).timestamp()
    assert text_seconds(" 2023-02-30 ") == datetime(2023, 3, 2, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    ["", "2025", "2025-13", "2025-1", "2025-01-32", "25-01", "2025-01-01 25:00", "x", "0000-01"],
)
def test_other_text_is_no_time(text: str) -> None:
    """What the calendar has not is NaN and never an error."""
    assert math.isnan(text_seconds(text))


def texts(values: list[str | None]) -> Column:
    dictionary = tuple(dict.fromkeys(v for v in values if v is not None))
    codes = [-1 if v is None else dictionary.index(v) for v in values]
    return Column("month", FeatureKind.CATEGORY, "text", np.array(codes, np.int32), dictionary)


def test_a_column_of_times_becomes_one() -> None:
    """Every value must be a time; NULL stays NULL."""
    dataset = with_times(Dataset((texts(["2025-02", None, "2025-01"]),), None, 3))
    (column,) = dataset.features
    assert (column.kind, column.sql_type) == (FeatureKind.TIME, "text")
    np.testing.assert_array_equal(
        column.values, [text_seconds("2025-02"), np.nan, text_seconds("2025-01")]
    )
    mixed = Dataset((texts(["2025-02", "soon"]),), None, 2)
    assert with_times(mixed).features[0].kind is FeatureKind.CATEGORY


def test_a_trend_over_text_months_goes_on() -> None:
    """A regression on months as text forecasts months that it has not seen."""
    months = [f"2024-{month:02d}" for month in range(1, 13)]
    seconds = np.array([text_seconds(month) for month in months])
    target = Column("sold", FeatureKind.NUMBER, "double precision", 3.0 + 1e-6 * seconds)
    model = fit("linear_regression", Dataset((texts(months),), target, 12)).model
    assert model.features[0].kind is FeatureKind.TIME
    later = text_seconds("2025-06")
    assert model.predict(np.array([[later]]))[0] == pytest.approx(3.0 + 1e-6 * later)
