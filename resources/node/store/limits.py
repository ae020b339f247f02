"""Limits on the size of one answer, and on the time to find it."""

LONGEST_LOOK_SECONDS = 20.0
LONGEST_LOOK_AT_ONE_SECONDS = 5.0  # so that one attempt with many files does not delay the others
LARGEST_ANSWER_BYTES = 32 << 20
