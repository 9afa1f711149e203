"""Benchmarks of the road, each with its bound measured in the same run (measured 9). `make bench`, `make chaos`."""
