"""Say in one offline page and one JSON file what the audit found."""
