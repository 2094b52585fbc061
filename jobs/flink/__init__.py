"""A real Flink cluster on this machine, from packages alone, for tests and for trying a job: `python -m jobs.flink`."""
