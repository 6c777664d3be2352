"""Writes tables row by row as Parquet files of bounded size, with bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from vcn_ray.io.committed import FileRecords, record_of
from vcn_ray.io.storage import Storage

GROUP_BYTES = 32 << 20
"""A row group in memory: what is kept of each table until it is compressed."""

FILE_BYTES = 128 << 20
"""A file ends with the row group that brings it to this size: what Athena and Spark read best."""


@dataclass(slots=True)
class DatasetFolder:
    """The files of a dataset so far.

    Attributes:
        target: Where the dataset lies.
        path: Its folder there.
        files: Size and SHA-256 of each file, by its path in the folder.
        rows: Number of rows of each file.
    """

    target: Storage
    path: str
    files: FileRecords = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)

    def write(self, name: str, data: bytes, rows: int) -> None:
        """Write a file of so many rows."""
        self.target.write_bytes(f"{self.path}/{name}", data)
        self.files[name] = record_of(data)
        self.rows[name] = rows


class Parts:
    """The rows of a table as files `part-0.parquet`, `part-1.parquet`, ...; none without rows.

    Args:
        dataset: The dataset that the table belongs to.
        folder: Of the files, in the dataset's folder.
        schema: Columns of the table.
    """

    def __init__(self, dataset: DatasetFolder, folder: str, schema: pa.Schema) -> None:
        self._dataset, self._folder, self._schema = dataset, folder, schema
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0
        self._written = 0  # files
        self._open()

    def add(self, rows: pa.Table) -> None:
        """Add rows; a full row group is compressed, and a full file is written."""
        self._waiting.append(rows)
        self._waiting_bytes += rows.nbytes
        if self._waiting_bytes >= GROUP_BYTES:
            self._end_group()
            if self._sink.tell() >= FILE_BYTES:
                self._end_file()
                self._open()

    def close(self) -> None:
        """Write the rest."""
        self._end_group()
        self._end_file()

    def _open(self) -> None:
        self._rows = 0
        self._sink = pa.BufferOutputStream()
        self._file = pq.ParquetWriter(
            self._sink, self._schema, compression="zstd", write_page_checksum=True
        )

    def _end_group(self) -> None:
        group = pa.concat_tables([self._schema.empty_table(), *self._waiting])
        self._waiting, self._waiting_bytes = [], 0
        if group.num_rows:
            self._file.write_table(group, row_group_size=group.num_rows)
            self._rows += group.num_rows

    def _end_file(self) -> None:
        self._file.close()
        if self._rows:
            name = f"{self._folder}/part-{self._written}.parquet"
            self._dataset.write(name, self._sink.getvalue().to_pybytes(), self._rows)
            self._written += 1
