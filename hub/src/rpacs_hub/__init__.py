"""The hub of the research PACS: login, gateway, permissions, index, exports, audit."""
