"""Files that other runtimes execute to the same bit."""
