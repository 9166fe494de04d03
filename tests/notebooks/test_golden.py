"""Every notebook gives its golden values."""

import golden
import pytest


@pytest.mark.parametrize("name", golden.NAMES)
def test_the_books_parameters_give_the_golden_values(name, as_in_the_book):
    golden.same(golden.published(as_in_the_book(name)), golden.golden(name))


def changed(value):
    """Something that differs from it, but hardly."""
    if isinstance(value, float):
        return value * (1 + 1e-5) + 1e-8
    if isinstance(value, str):
        return f"{value} "
    if isinstance(value, list | dict):
        return type(value)() if value else [None]
    return 0 if value is None else value + 1


@pytest.mark.parametrize("name", golden.NAMES)
def test_every_change_of_a_golden_value_is_seen(name):
    expected = golden.golden(name)
    for records in expected.values():
        for key, record in records.items():
            for part, value in record.items():
                for found in (
                    {**record, part: changed(value)},
                    {other: rest for other, rest in record.items() if other != part},
                ):
                    with pytest.raises(AssertionError):
                        golden.same(found, record)
            with pytest.raises(AssertionError):
                golden.same({other: records[other] for other in records if other != key}, records)
    golden.same(expected, expected)
    assert sum(map(len, expected.values())) > 10


def test_a_difference_between_machines_is_not_a_change():
    golden.same({"value": 1.0 + 1e-9}, {"value": 1.0})
