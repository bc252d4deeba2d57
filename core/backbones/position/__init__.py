"""A tiny backbone that reads the word behind a marker; its weights are made by ``make``."""
