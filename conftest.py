"""What all tests share: real parts, see tests/fixtures."""

# The folder deid_service/ has the name of the package in it. Unless the package is imported first, pytest takes the
# folder for it as soon as it imports a test from there.
import deid_service  # noqa: F401

pytest_plugins = ["tests.fixtures.parts"]
