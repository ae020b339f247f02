from ccat_assets.cli.entry import main

__all__ = ["main"]
