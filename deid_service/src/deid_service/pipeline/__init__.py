"""The service: from the ingest Orthanc, through the rules, to the research Orthanc.

=================  ====================================================================================
module             holds
=================  ====================================================================================
`inbox`            the ingest Orthanc as a durable inbox: what arrives is queued
`drop_folder`      a folder whose files go to the ingest Orthanc
`jobs`             batches in the queue
`worker`           original in, confirmed clean copy out, original deleted
`send`             sending and confirming
`outcomes`         what became of a batch, in one transaction
`quarantine`       what could not be cleaned
`reasons`          why, and what to do about it
`kinds`            what kind of instance it is
`requests`         what others asked for is carried out
`shown`            what others may see, and ask for
`rules_file`       the rules in force
`troubles`         what is wrong, said once
`status`           how the service is doing
`service`          the running processes
`schema`           the tables
`cli`              the commands
`errors`           what goes wrong
=================  ====================================================================================
"""
