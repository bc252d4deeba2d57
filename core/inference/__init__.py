"""Answers of trained adapters to texts that a person types."""
