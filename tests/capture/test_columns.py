"""numpy views say what the rows say, whatever slice of whatever batch they are of."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linnix_rec.capture import columns
from linnix_rec.capture.schema import EVENT_SCHEMA, EXEC, EXIT, FORK, GAP, NAME, TASK
from tests.story import Story, rows_to_batch

Row = dict[str, Any]


def short_story() -> Story:
    story = Story()
    shell = story.task(100)
    child = story.fork(shell, 101)
    story.exec(child, "/bin/true", ["true"])
    story.exit(child)
    story.gap(3)
    return story


def test_kind_codes_are_those_of_the_schema() -> None:
    assert columns.kind_codes(short_story().batch()).tolist() == [TASK, FORK, EXEC, EXIT, GAP]


def test_kind_codes_do_not_depend_on_the_dictionarys_order() -> None:
    kinds = pa.DictionaryArray.from_arrays(pa.array([1, 0, 2], pa.int32()), ["exit", "gap", "teleport"])
    batch = pa.RecordBatch.from_arrays([kinds], ["kind"])
    assert columns.kind_codes(batch).tolist() == [GAP, EXIT, columns.UNKNOWN_KIND]


def test_a_batch_without_rows_has_empty_views() -> None:
    batch = rows_to_batch([])
    assert columns.kind_codes(batch).shape == (0,)
    assert columns.uint64(batch, "seq").shape == (0,)
    assert columns.valid(batch, "lost").shape == (0,)
    assert columns.boolean(batch, "last_thread").shape == (0,)


def test_a_view_of_the_wrong_type_is_refused() -> None:
    with pytest.raises(TypeError, match="column tid is int32, not uint64"):
        columns.uint64(short_story().batch(), "tid")


def test_numbers_are_views_and_not_copies() -> None:
    batch = short_story().batch()
    values = columns.uint64(batch, "seq")
    assert values.__array_interface__["data"][0] == batch.column("seq").buffers()[1].address
    assert not values.flags.writeable


_VIEWS = {
    pa.uint64(): columns.uint64,
    pa.int64(): columns.int64,
    pa.uint32(): columns.uint32,
    pa.int32(): columns.int32,
    pa.uint16(): columns.uint16,
    pa.uint8(): columns.uint8,
    pa.bool_(): columns.boolean,
    pa.timestamp("us", tz="UTC"): columns.microseconds,
}


@given(st.integers(0, 40), st.integers(0, 40), st.data())
def test_views_of_any_slice_agree_with_pyarrow(offset: int, length: int, data: st.DataObject) -> None:
    pattern = data.draw(st.lists(st.sampled_from(["fork", "exec", "exit", "gap"]), min_size=1, max_size=40))
    story = Story()
    task = story.task(1)
    for number, kind in enumerate(pattern):
        match kind:
            case "fork":
                story.fork(task, 100 + number)
            case "exec":
                story.exec(task, f"/bin/{number}")
            case "exit":
                story.exit(task, last=number % 2 == 0)
            case _:
                story.gap(5)
    batch = story.batch().slice(offset, length)
    for field in EVENT_SCHEMA:
        column = batch.column(field.name)
        valid = columns.valid(batch, field.name)
        assert valid.tolist() == column.is_valid().to_pylist()
        if field.type in _VIEWS:
            raw = column.cast(pa.int64()) if field.type == pa.timestamp("us", tz="UTC") else column
            expected = [value for value in raw.to_pylist() if value is not None]
            assert _VIEWS[field.type](batch, field.name)[valid].tolist() == expected
        elif field.type == NAME:
            indices, dictionary = columns.names(batch, field.name)
            assert [dictionary[index] for index in indices[valid]] == column.drop_null().to_pylist()
            assert indices.dtype == np.int32
