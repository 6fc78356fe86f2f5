"""Damaged files: whatever comes in, the de-identifier cleans it and verifies the copy, or refuses it, and lives on.

``python -m tests.fuzz --count 50000`` prints what became of them, the slowest and the memory.
"""
