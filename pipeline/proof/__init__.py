"""Hold frozen predictions against real targets, and say what was proven, what was missed and what could not be judged."""
