"""De-identify DICOM by rules: a clean copy, or quarantine, never a third way."""
