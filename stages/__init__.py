"""One module a stage: what it reads, what it writes, and its click command."""
