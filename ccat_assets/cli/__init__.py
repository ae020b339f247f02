from ccat_assets.cli.app import main

__all__ = ["main"]
