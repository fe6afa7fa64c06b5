"""Questions as Parquet files of three compressions (pip install pyarrow): python parquet.py OUTPUT_FOLDER."""
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

table = pa.table(
    {
        "question": ["What is 2 + 3?", "What is √16?", "What is 10^12?"],
        "answer": ["2 + 3 = 5\n#### 5", "#### 4", "#### 1,000,000,000,000"],
        "number": pa.array([5, 4, 10**12], pa.int64()),
        "choices": [["4", "5"], ["4", "8"], ["1", "10"]],
    }
)
for compression in ("snappy", "gzip", "zstd"):
    pq.write_table(table, Path(sys.argv[1]) / f"questions.{compression}.parquet", compression=compression)
