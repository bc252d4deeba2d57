"""Data: files to examples, splits, and tokens."""
