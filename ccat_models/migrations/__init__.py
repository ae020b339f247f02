from ccat_models.migrations.migrate import configuration, current, downgrade, head, is_current, migrating, upgrade

__all__ = ["configuration", "current", "downgrade", "head", "is_current", "migrating", "upgrade"]
