"""Tables in, a table out: the audit's stages as a plain library, free of orchestration."""
