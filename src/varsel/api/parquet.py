"""Writing Parquet, where the extra is installed: `varsel[parquet]`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal


class ParquetMissing(Exception):
    """The extra is not installed."""


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: Literal["string", "int32", "int64"]
    nullable: bool = False


class ParquetWriter:
    """Writes rows to a file, some at a time, each time a row group. Raises `ParquetMissing`."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        try:
            import pyarrow  # noqa: PLC0415 - optional, and 60 MB that only this needs
            from pyarrow import parquet  # noqa: PLC0415
        except ImportError as e:
            raise ParquetMissing from e
        types = {"string": pyarrow.string(), "int32": pyarrow.int32(), "int64": pyarrow.int64()}
        fields = [pyarrow.field(c.name, types[c.type], nullable=c.nullable) for c in columns]
        self._table: Any = pyarrow.Table
        self._schema: Any = pyarrow.schema(fields)
        self._writer: Any = parquet.ParquetWriter(path, self._schema)
        self._names = [c.name for c in columns]

    def write(self, rows: Iterable[Sequence[object]]) -> None:
        documents = [dict(zip(self._names, row, strict=True)) for row in rows]
        self._writer.write_table(self._table.from_pylist(documents, schema=self._schema))

    def close(self) -> None:
        self._writer.close()
