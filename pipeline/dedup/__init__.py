"""Find near-duplicates: exact hashes, MinHash proposals, verified pairs, clusters, removals with direct evidence."""
