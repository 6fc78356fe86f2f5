"""Text burned into real images, to measure how much of it is found: ``python -m tests.burned_in_text``."""
