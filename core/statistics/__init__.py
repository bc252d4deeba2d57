"""Statistics over runs: means, intervals, paired differences; numbers in, numbers out."""
