"""What all tests share: real parts, see tests/fixtures."""

import signal

from hypothesis import settings

# The folder deid_service/ has the name of the package in it. Unless the package is imported first, pytest takes the
# folder for it as soon as it imports a test from there.
import deid_service  # noqa: F401

# How long an example takes says what else the machine does, and a test of its own time would fail now and then for it.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

pytest_plugins = ["tests.fixtures.certificates", "tests.fixtures.parts"]

# What a script starts in the background ignores SIGINT, and every process that it starts inherits that. A hub would ask
# each of its services in vain to stop, for half a minute, and be killed before it came to its proxy, which lived on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
