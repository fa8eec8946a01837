"""A record is read by name: whoever shows a part of it says which field each value is."""

from __future__ import annotations

import pytest

from gateway.pipeline.record import RequestRecord, reader
from gateway.telemetry.request_log import MEMBERS, line
from tests.fakes.records import record


def test_values_come_in_the_order_of_their_sources() -> None:
    read = reader(["cost", ("exceeded", "'+'.join({0})"), "tenant", ("cap", "None if {0} is None else {0} / 4")])
    assert read(record(exceeded=("a", "b"))) == (1_234_567, "a+b", "acme", 500_000)
    assert read(record(cap=None))[-1] is None


def test_a_maker_gets_the_values_and_a_parameter_goes_before_a_field() -> None:
    read = reader(["tenant", ("status", "{0} + 1"), "cost"], lambda *values: list(values), ("status", "other"))
    assert read(record(), status=7, other=None) == ["acme", 8, 1_234_567]


def test_an_unknown_field_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="unknown field 'colour'; known: request_id, started_at"):
        reader(["tenant", "colour"])


def test_each_field_of_a_record_is_read_from_itself() -> None:
    numbered = RequestRecord(*range(len(RequestRecord._fields)))  # type: ignore[arg-type]
    assert reader(RequestRecord._fields)(numbered) == numbered


def test_a_log_line_has_its_members_in_their_order() -> None:
    made = line(record(cap=None))
    assert made.__struct_fields__ == tuple(MEMBERS)
    plain = {name: source for name, source in MEMBERS.items() if isinstance(source, str)}
    assert {name: getattr(made, name) for name in plain} == {n: getattr(record(), f) for n, f in plain.items()}
