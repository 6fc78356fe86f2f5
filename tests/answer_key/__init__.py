"""A synthetic answer key for de-identification, in the manner of MIDI-B.

:mod:`~tests.answer_key.plants` writes identifiers of invented patients into every place of real files and says, element
by element, what must become of each; :mod:`~tests.answer_key.scorer` reads what a de-identifier made of them and keeps
score by action. Neither uses the engine's code: files are written and read by pydicom, and searched as bytes.

``python -m tests.answer_key`` prints the table; with ``--write`` it goes to ``docs/deid-proof.md``.
"""
