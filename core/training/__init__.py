"""The training engine: groups of runs that share one frozen backbone."""
