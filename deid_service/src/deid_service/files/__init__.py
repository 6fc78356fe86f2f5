"""Cleaning files and folders without a server: ``rpacs-deid file``.

=================  ====================================================================================
module             holds
=================  ====================================================================================
`cleaning`         one file, and many at a time in several processes
`progress`         the bar on the terminal
`cli`              the command
=================  ====================================================================================
"""

from deid_service.files.cleaning import Task, clean_files, files_below

__all__ = ["Task", "clean_files", "files_below"]
