"""Backbones: table of known ones, their sizes, loading, prefixes and probes."""
