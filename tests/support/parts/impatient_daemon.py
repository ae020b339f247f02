"""`dagster-daemon` as it is, but that it looks for backfills every second: for that alone its instance has no setting."""

from dagster._daemon import cli, controller

if __name__ == "__main__":
    controller.DEFAULT_DAEMON_INTERVAL_SECONDS = 1  # else 30
    cli.main()
