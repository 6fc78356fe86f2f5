"""Any legal rules file over any instance: what must hold whatever a privacy officer writes.

:mod:`~tests.any_rules.rules_files` draws rules files as text, from the whole language, and
:mod:`~tests.any_rules.instances` instances of every encoding, with values that are legal and some that are not. With
``RPACS_TIMES_AS_MANY=40`` in the environment the tests look at forty times as many as the suite does.
"""
