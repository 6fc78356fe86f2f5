"""Find, look at, load and export de-identified DICOM from a notebook."""
