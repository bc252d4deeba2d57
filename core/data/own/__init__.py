"""People's own data: strict reading of CSV, TSV, JSONL and Parquet in a limited process."""
