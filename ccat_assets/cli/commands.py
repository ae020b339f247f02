"""Every command of `ccat`: where its function is, and the line that lists of commands show. Imports none of them."""

from collections.abc import Mapping
from typing import NamedTuple


class Command(NamedTuple):
    """A command's name, after its group's name if it has one; its function; the first line of its docstring."""

    name: str
    function: str  # module in this folder:function
    help: str


class Option(NamedTuple):
    """An option of `ccat` itself."""

    name: str
    short: str
    help: str


GROUPS = {
    "": "From archived raw packages to data products with lineage.",
    "pipeline": "Declare pipelines.",
    "grouping": "Choose data.",
    "software": "Release programs.",
    "circuit": "See and reset the circuits of failing steps.",
    "container": "Write reduction programs.",
    "locations": "See and add data locations.",
}
WITHOUT_COMMAND = {"locations": "locations:list_all"}  # what a group does where none of its commands is named
COMMANDS = (
    Command(
        "init", "setup:init", "Make or migrate everything the program needs below CCAT_HOME; again changes nothing."
    ),
    Command("demo", "setup:demo", "Observe, ingest, run the CHAI pipeline to its map, and show where it came from."),
    Command("settings", "setup:settings", "Show each setting, its value and where it came from; secrets are masked."),
    Command("doctor", "setup:doctor", "Check that this installation can work; exit code 1 if anything is broken."),
    Command(
        "ingest", "data:ingest", "Register raw data packages and what they were observed with; again changes nothing."
    ),
    Command(
        "archive",
        "locations:archive",
        "Pack packages and copy them into an archive, verified; again copies none that is there.",
    ),
    Command(
        "plan", "planning:plan", "Say what would be run, why, and what it would cost; run nothing and change nothing."
    ),
    Command(
        "run",
        "running:run",
        "Run what the pipeline lacks and stay until it is done; again runs only what is still missing.",
    ),
    Command("runs", "runs:runs", "List runs, the newest first."),
    Command("cancel", "runs:cancel", "Cancel runs that are in flight, and their jobs."),
    Command(
        "retry",
        "runs:retry",
        "Let failed or cancelled runs be tried again: their sub-groups are gaps again, `ccat run` runs them.",
    ),
    Command("publish", "running:publish", "Show in Dagit every finished run that it does not know yet."),
    Command(
        "serve",
        "serve:serve",
        "Give out the files of products to browsers: Dagit's links lead here (setting products_url).",
    ),
    Command("products", "answers:products", "List data products, the newest first."),
    Command("why", "reasons:why", "Say why sub-groups are, or are not, going to be run; change nothing."),
    Command("quality", "quality:quality", "List the quality checks that failed, the newest run's first."),
    Command(
        "waive",
        "quality:waive",
        "Take a run's products as they are although a check failed; recorded in their lineage.",
    ),
    Command(
        "taint",
        "quality:taint",
        "Say of raw packages that they must not be used, mark all that was made from them; without names: list taints.",
    ),
    Command("lineage", "lineage:lineage", "Show what a product was made from, back to the raw files."),
    Command("impact", "impact:impact", "Show what was made with or from something, and whether it still counts."),
    Command(
        "diff",
        "diff:diff",
        "Show in what two products differ: inputs, software, parameters, environment, files and metrics.",
    ),
    Command(
        "export", "export:export", "Write the provenance of products, a run or a pipeline in a format that others read."
    ),
    Command(
        "verify",
        "verify:verify",
        "Compare files with their registered size and sha256, where they are; exit code 1 if one is not as registered.",
    ),
    Command("space", "space:space", "Show what products take up, what a purge would free, and why the rest is kept."),
    Command(
        "purge",
        "purge:purge",
        "Remove products that can be made again, and staged raw data; without a goal down to the low watermark.",
    ),
    Command(
        "regenerate",
        "purge:regenerate",
        "Make purged products again now; without --wait the daemon moves the runs on, one round of steps a call.",
    ),
    Command("pin", "pins:pin", "Keep products, whatever the retention of their step says; again changes nothing."),
    Command("unpin", "pins:unpin", "Let products go by the retention of their step again."),
    Command("pins", "pins:pins", "List what is pinned, the newest first."),
    Command(
        "reproduce",
        "reproduce:reproduce",
        "Run recorded attempts again, beside everything, and compare what they make; exit code 1 if it differs.",
    ),
    Command(
        "pipeline apply",
        "pipelines:apply",
        "Declare a pipeline; again with the same file changes nothing, with another one makes a new revision.",
    ),
    Command("pipeline export", "pipelines:export", "Print a pipeline's declaration; applying it changes nothing."),
    Command("pipeline list", "pipelines:list_all", "List all pipelines."),
    Command("pipeline show", "pipelines:show", "Show a pipeline's steps in its current revision."),
    Command("pipeline enable", "pipelines:enable", "Let a pipeline ask for runs again."),
    Command("pipeline disable", "pipelines:disable", "Let a pipeline ask for no more runs; those on their way go on."),
    Command("grouping preview", "data:preview", "Show which packages filter rules choose, without storing anything."),
    Command("grouping presets", "data:presets", "List the presets of filter rules and the values they need."),
    Command(
        "software release",
        "software:release",
        "Release a version; without image and command it takes the newest version's command and code names.",
    ),
    Command(
        "software list",
        "software:list_all",
        "List the versions of programs, and the steps that would run or accept them now.",
    ),
    Command("software withdraw", "software:withdraw", "Let a version not be run any more; its products stay."),
    Command(
        "circuit list",
        "circuit:list_all",
        "List the steps' circuits: how often each failed in a row, and whether it asks for runs.",
    ),
    Command("circuit reset", "circuit:reset", "Close a step's circuit: the failures so far no longer count."),
    Command(
        "container check",
        "container:check",
        "Run a program once and say which clauses of the container contract it keeps; exit code 1 if it breaks one.",
    ),
    Command("locations add", "locations:add", "Add a data location; again changes nothing."),
)
HELP_OPTIONS = ("--help", "-h")
VERSION_OPTION = Option("--version", "", "Show the version and exit.")
OPTIONS = (
    VERSION_OPTION,
    Option("--install-completion", "", "Install completion for the current shell."),
    Option(
        "--show-completion",
        "",
        "Show completion for the current shell, to copy it or customize the installation.",
    ),
)
HELP_OPTION = Option("--help", "-h", "Show this message and exit.")


def members(group: str) -> Mapping[str, str]:
    """Return the line of each command and group in a group, `` for `ccat` itself, in the order of lists."""
    start = f"{group} " if group else ""
    found = {c.name.removeprefix(start): c.help for c in COMMANDS if c.name.startswith(start)}
    groups = {name: line for name, line in GROUPS.items() if name} if not group else {}
    return {name: line for name, line in found.items() if " " not in name} | groups


def function_of(name: str) -> str:
    """Return where the function of a command is: module in this folder:function."""
    return next(command.function for command in COMMANDS if command.name == name)
