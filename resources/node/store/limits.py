"""How much one answer may hold, and how long it may take to find it."""

LONGEST_LOOK_SECONDS = 20.0
LONGEST_LOOK_AT_ONE_SECONDS = 5.0  # one attempt's many files must not keep the others waiting
LARGEST_ANSWER_BYTES = 32 << 20
