"""What the settings say of a table's files; apart from the reading, so that a config is read without Beam."""

from typing import Annotated, Literal

from pydantic import AfterValidator, WithJsonSchema

Format = Literal["auto", "csv", "jsonl", "parquet", "tfrecord"]


def _check_delimiter(delimiter: str) -> str:
    if len(delimiter.encode()) != 1 or delimiter in '"\r\n':
        raise ValueError(f"the delimiter must be one ASCII character and no quote, not {delimiter!r}")
    return delimiter


Delimiter = Annotated[
    str,
    AfterValidator(_check_delimiter),
    WithJsonSchema({"type": "string", "pattern": r'^[^"\r\n\u0080-\uffff]$'}),
]
"""What may stand between the columns of a CSV file."""
