"""Decide about every row, write the filtered dataset, and prove that nothing was lost."""
