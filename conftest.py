"""What all tests share: real parts, see tests/fixtures."""

pytest_plugins = ["tests.fixtures.parts"]
