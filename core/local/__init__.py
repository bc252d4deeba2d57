"""Everything on one machine: broker, workers and page as children of one process."""
