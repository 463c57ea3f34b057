"""The benchmarks: each figure beside its yardstick, measured in the same run. `python -m bench --help`."""
