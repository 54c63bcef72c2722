"""Collects batches of any size until they are a row group; knows no file."""

from typing import Final

import pyarrow as pa

from linnix_rec.capture.parquet import ROW_GROUP_BYTES, ROW_GROUP_ROWS

#: A batch costs some 10 KB beside its rows, and each is a chunk of every column: small ones are joined.
_SMALL_ROWS: Final = 4096
_SMALL_BATCHES: Final = 128


class PendingRows:
    """The rows of the next row group, in the order in which they came; all of one schema."""

    def __init__(self) -> None:
        self._large: list[pa.RecordBatch] = []
        self._small: list[pa.RecordBatch] = []
        self._small_rows = 0
        self._bytes = 0
        self.rows = 0

    @property
    def room(self) -> int:
        """Rows that may still be added."""
        return max(0, ROW_GROUP_ROWS - self.rows) if self._bytes < ROW_GROUP_BYTES else 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch of at most `room` rows."""
        self.rows += batch.num_rows
        if batch.num_rows >= _SMALL_ROWS:
            self._join_small()
            self._add_large(batch)
            return
        self._small.append(batch)
        self._small_rows += batch.num_rows
        if self._small_rows >= _SMALL_ROWS or len(self._small) >= _SMALL_BATCHES:
            self._join_small()

    def take(self) -> pa.Table:
        """Give all rows (at least one) as one table, each column with one dictionary, and be empty again."""
        self._join_small()
        # Parquet keeps one dictionary a column chunk; at a second one pyarrow would fall back to plain text.
        table = pa.Table.from_batches(self._large).unify_dictionaries()
        self.clear()
        return table

    def clear(self) -> None:
        """Forget all rows."""
        self._large, self._small = [], []
        self._small_rows = self._bytes = self.rows = 0

    def _join_small(self) -> None:
        if self._small:
            joined = pa.Table.from_batches(self._small).combine_chunks()
            for batch in joined.to_batches():
                self._add_large(batch)
        self._small, self._small_rows = [], 0

    def _add_large(self, batch: pa.RecordBatch) -> None:
        self._large.append(batch)
        self._bytes += batch.nbytes  # costs 70 us: not worth it for every small batch
