"""The local stack: every part of the workbench on one machine. Not shipped with any package."""
