"""Benchmarks: `make bench` prints the table and writes it to ``var/bench.json``.

Every row is a ratio measured in one run, because single absolute times say more about the machine than about us.
"""
