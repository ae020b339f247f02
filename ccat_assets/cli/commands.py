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
        "init",
        "setup:init",
        "Create or migrate everything the program needs below CCAT_HOME; repeating it changes nothing.",
    ),
    Command(
        "demo",
        "setup:demo",
        "Simulate observations, ingest them, run the example pipelines, and show the map's lineage.",
    ),
    Command("settings", "setup:settings", "Show each setting, its value and its source; secrets are masked."),
    Command("doctor", "setup:doctor", "Check that this installation works; exit code 1 if anything is broken."),
    Command(
        "ingest",
        "data:ingest",
        "Register raw data packages and what they were observed with; repeating it changes nothing.",
    ),
    Command(
        "archive",
        "locations:archive",
        "Pack packages and copy them into an archive, verified; those that are there already are not copied again.",
    ),
    Command(
        "plan", "planning:plan", "Show what would be run, why, and what it would cost; run nothing and change nothing."
    ),
    Command(
        "run",
        "running:run",
        "Run what the pipeline lacks and wait until it is done; repeated, it runs only what is still missing.",
    ),
    Command("runs", "runs:runs", "List runs, the newest first."),
    Command("cancel", "cancel:cancel", "Cancel runs that are in flight, and their jobs."),
    Command(
        "retry",
        "cancel:retry",
        "Allow failed or cancelled runs to be tried again: their sub-groups become gaps, and `ccat run` runs them.",
    ),
    Command("publish", "running:publish", "Publish every run that has ended and that Dagster does not know yet."),
    Command(
        "serve",
        "serve:serve",
        "Serve the files of products to browsers: Dagit's links lead here (setting products_url).",
    ),
    Command("products", "answers:products", "List data products, the newest first."),
    Command("why", "reasons:why", "Show why sub-groups are, or are not, going to be run; change nothing."),
    Command("quality", "quality:quality", "List the quality checks that failed, the newest run's first."),
    Command(
        "waive",
        "quality:waive",
        "Accept a run's products although a check failed; this is recorded in their lineage.",
    ),
    Command(
        "taint",
        "quality:taint",
        "Mark raw packages, and all that was made from them, as not to be used; without names: list taints.",
    ),
    Command("lineage", "lineage:lineage", "Show what a product was made from, back to the raw files."),
    Command(
        "impact",
        "impact:impact",
        "Show which products were made with or from something, and which of them are current.",
    ),
    Command(
        "diff",
        "diff:diff",
        "Show how two products differ: inputs, software, parameters, environment, files and metrics.",
    ),
    Command("export", "export:export", "Write the provenance of products, a run or a pipeline in a standard format."),
    Command(
        "verify",
        "verify:verify",
        "Compare files with their registered size and sha256, where they are; exit code 1 if one is not as registered.",
    ),
    Command(
        "space", "space:space", "Show how much space products take, what a purge would free, and why the rest is kept."
    ),
    Command(
        "purge",
        "purge:purge",
        "Remove products that can be regenerated, and staged raw data; without a goal, down to the low watermark.",
    ),
    Command(
        "regenerate",
        "purge:regenerate",
        "Regenerate purged products. Without --wait the daemon advances the runs; each call requests the next steps.",
    ),
    Command(
        "pin", "pins:pin", "Keep products, whatever the retention of their step says; repeating it changes nothing."
    ),
    Command(
        "unpin",
        "pins:unpin",
        "Remove pins: the retention of the step decides again whether its products may be purged.",
    ),
    Command("pins", "pins:pins", "List what is pinned, the newest first."),
    Command(
        "reproduce",
        "reproduce:reproduce",
        "Repeat recorded runs in scratch directories and compare their files; exit code 1 if any differs.",
    ),
    Command(
        "pipeline apply",
        "pipelines:apply",
        "Declare a pipeline; the same file again changes nothing, a changed one makes a new revision.",
    ),
    Command(
        "pipeline export",
        "pipelines:export",
        "Print a pipeline's declaration as a file for `ccat pipeline apply`, which would change nothing.",
    ),
    Command("pipeline list", "pipelines:list_all", "List all pipelines."),
    Command("pipeline show", "pipelines:show", "Show a pipeline's steps in its current revision."),
    Command("pipeline enable", "pipelines:enable", "Let a pipeline request runs again."),
    Command("pipeline disable", "pipelines:disable", "Let a pipeline request no more runs; those in flight go on."),
    Command("grouping preview", "data:preview", "Show which packages filter rules choose, without storing anything."),
    Command("grouping presets", "data:presets", "List the presets of filter rules and the values they need."),
    Command(
        "software release",
        "software:release",
        "Release a version; without --image and --command it has the newest version's command and code files.",
    ),
    Command(
        "software list",
        "software:list_all",
        "List the versions of programs, and the steps that would run or accept them now.",
    ),
    Command("software withdraw", "software:withdraw", "Withdraw a version: it is no longer run; its products stay."),
    Command(
        "circuit list",
        "circuit:list_all",
        "List the steps' circuits: how often each step failed in a row, and whether it may request runs.",
    ),
    Command("circuit reset", "circuit:reset", "Close a step's circuit: the failures so far no longer count."),
    Command(
        "container check",
        "container:check",
        "Run a program once and list which clauses of the container contract it keeps; exit code 1 if it breaks one.",
    ),
    Command("locations add", "locations:add", "Add a data location; repeating it changes nothing."),
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
