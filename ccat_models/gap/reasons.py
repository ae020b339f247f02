import enum


class Reason(enum.Enum):
    """Why a sub-group of a step is, or is not, a gap; each has exactly one at any time."""

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


# The reasons that make a run; all others say why there is none.
ACTIONABLE = (
    Reason.MISSING,
    Reason.NEW_INPUTS,
    Reason.INPUTS_WITHDRAWN,
    Reason.SOFTWARE_CHANGED,
    Reason.CONFIG_CHANGED,
    Reason.FORCED,
)

# The reasons of a gap that will be filled, once what it reads has been made again at the latest.
WANTED = (*ACTIONABLE, Reason.INPUTS_PURGED)

# The reasons that a retry takes away.
RENEWABLE = (Reason.RETRIES_EXHAUSTED, Reason.QUALITY_BLOCKED)

MEANING = {
    Reason.UP_TO_DATE: "a completed run has exactly the current inputs, configuration and an acceptable version",
    Reason.MISSING: "no run has been completed yet, or none whose products can be made again",
    Reason.NEW_INPUTS: "inputs came or changed since the last completed run",
    Reason.INPUTS_WITHDRAWN: "inputs of the last completed run are not there any more",
    Reason.SOFTWARE_CHANGED: "the last completed run used a version that is not acceptable any more",
    Reason.CONFIG_CHANGED: "the last completed run had other parameters",
    Reason.FORCED: "somebody asked for it",
    Reason.IN_FLIGHT: "a run is on its way",
    Reason.COOLING_DOWN: "the last run was created less than the step's cooldown ago",
    Reason.SETTLING: "the newest input came less than the step's settle time ago",
    Reason.WAITING_FOR_UPSTREAM: "upstream products are not there yet",
    Reason.INPUTS_PURGED: "what it reads was purged to make room: that is made again first, by the runs on record",
    Reason.RETRIES_EXHAUSTED: "the run for just these inputs failed for good or was cancelled: retry it to try again",
    Reason.CIRCUIT_OPEN: "too many science failures in a row: the step asks for nothing until it is reset",
    Reason.QUALITY_BLOCKED: "a run completed, but a blocking check fails: waive it, or retry once something was mended",
    Reason.DISABLED: "the pipeline is disabled",
}
