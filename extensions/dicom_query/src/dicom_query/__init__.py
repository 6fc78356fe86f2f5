"""Tag paths, tag path patterns and the query language of the research PACS."""
