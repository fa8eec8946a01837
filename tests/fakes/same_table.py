"""When two outcome tables are the same."""

from __future__ import annotations

from routers.table.outcome_table import OutcomeTable


def assert_same_table(found: OutcomeTable, expected: OutcomeTable, *, notes: bool = True) -> None:
    """All texts equal, all numbers equal to the bit, image paths of the same files."""
    for name in ("query_ids", "groups", "questions", "candidates", "details"):
        assert getattr(found, name) == getattr(expected, name), name
    assert list(found.details) == list(expected.details)
    assert not notes or found.notes == expected.notes
    assert [path and path.resolve() for path in found.image_paths] == [
        path and path.resolve() for path in expected.image_paths
    ]
    assert list(found.arrays()) == list(expected.arrays())
    for name, values in expected.arrays().items():
        again = found.arrays()[name]
        same = (again == values).all() if name == "source" else again.tobytes() == values.tobytes()
        assert same, name
