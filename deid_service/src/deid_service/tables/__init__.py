"""Tables of health records under the same pseudonyms and date offsets as the images.

=================  ====================================================================================
module             holds
=================  ====================================================================================
`rows`             one row: into a small instance, through the rules, and back
`formats`          how dates, times and ages are written in a table
`files`            a whole CSV file, row by row
`cli`              ``rpacs-deid table``
=================  ====================================================================================
"""

from deid_service.tables.files import TableError, TableReport, clean_table
from deid_service.tables.rows import BadRowError, RowCleaner

__all__ = ["BadRowError", "RowCleaner", "TableError", "TableReport", "clean_table"]
