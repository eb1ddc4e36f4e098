"""One module per command: what it reads, what it writes, and its options."""
