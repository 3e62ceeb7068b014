"""What the benchmarks share: measured child processes, environments of their own, tables and results."""
