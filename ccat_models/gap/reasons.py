import enum


class Reason(enum.Enum):
    """Why a sub-group of a step is, or is not, a gap; each has exactly one reason at any time."""

    UP_TO_DATE = "up_to_date"
    MISSING = "missing"
    NEW_INPUTS = "new_inputs"
    INPUTS_WITHDRAWN = "inputs_withdrawn"
    SOFTWARE_CHANGED = "software_changed"
    CONFIG_CHANGED = "config_changed"
    FORCED = "forced"
    IN_FLIGHT = "in_flight"
    COOLING_DOWN = "cooling_down"
    SETTLING = "settling"
    WAITING_FOR_UPSTREAM = "waiting_for_upstream"
    INPUTS_PURGED = "inputs_purged"
    RETRIES_EXHAUSTED = "retries_exhausted"
    CIRCUIT_OPEN = "circuit_open"
    QUALITY_BLOCKED = "quality_blocked"
    DISABLED = "disabled"


# The reasons for which a run is created; all others say why none is.
ACTIONABLE = (
    Reason.MISSING,
    Reason.NEW_INPUTS,
    Reason.INPUTS_WITHDRAWN,
    Reason.SOFTWARE_CHANGED,
    Reason.CONFIG_CHANGED,
    Reason.FORCED,
)

# The reasons of a gap that will be filled, at the latest once its inputs are regenerated.
WANTED = (*ACTIONABLE, Reason.INPUTS_PURGED)

# The reasons that a retry ends.
RENEWABLE = (Reason.RETRIES_EXHAUSTED, Reason.QUALITY_BLOCKED)

MEANING = {
    Reason.UP_TO_DATE: "a completed run has exactly the current inputs, configuration and an acceptable version",
    Reason.MISSING: "no run has completed yet, or none whose products can be regenerated",
    Reason.NEW_INPUTS: "inputs were added or changed since the last completed run",
    Reason.INPUTS_WITHDRAWN: "inputs of the last completed run were withdrawn",
    Reason.SOFTWARE_CHANGED: "the last completed run used a version that is no longer acceptable",
    Reason.CONFIG_CHANGED: "the last completed run had other parameters",
    Reason.FORCED: "a run was requested although the sub-group is up to date",
    Reason.IN_FLIGHT: "a run is in flight",
    Reason.COOLING_DOWN: "the last run was created less than the step's cooldown ago",
    Reason.SETTLING: "the newest input arrived less than the step's settle time ago",
    Reason.WAITING_FOR_UPSTREAM: "upstream products do not exist yet",
    Reason.INPUTS_PURGED: "its inputs were purged to free space; they are regenerated first",
    Reason.RETRIES_EXHAUSTED: "the run for exactly these inputs failed or was cancelled: retry it to try again",
    Reason.CIRCUIT_OPEN: "too many science failures in a row: no runs are created until the circuit is reset",
    Reason.QUALITY_BLOCKED: "a run completed, but fails a blocking check: waive it, or correct the cause and retry",
    Reason.DISABLED: "the pipeline is disabled",
}
