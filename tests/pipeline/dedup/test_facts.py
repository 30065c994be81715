"""Counts of parts add up to those of the whole."""

from pipeline.dedup.facts import merge_facts


def test_counts_add_up_and_the_largest_stays_the_largest() -> None:
    """A count present in one part only is kept."""
    merged = merge_facts([{"num_a": 1, "largest_b": 5}, {"num_a": 2, "largest_b": 3, "num_c": 4}])
    assert merged == {"num_a": 3, "largest_b": 5, "num_c": 4}
    assert merge_facts([]) == {}
