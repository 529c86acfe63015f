"""The training of both networks: one loop, what it reads, and what it leaves."""
