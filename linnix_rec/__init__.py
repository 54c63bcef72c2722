"""A flight recorder for Linux processes: every fork, exec and exit of a host in one proven order."""

__version__ = "0.1.0"
