"""The honest broker's desk: who may find the patient behind a pseudonym, and the record of who did.

=================  ====================================================================================
module             holds
=================  ====================================================================================
`lookups`          reading the journal, each time leaving a line in the table ``lookup``
`regenerate`       making the pseudonyms anew, should the journal be lost
`cli`              ``rpacs-deid mapping``
=================  ====================================================================================
"""

from deid_service.broker.lookups import KINDS, Broker, Entry

__all__ = ["KINDS", "Broker", "Entry"]
