from tests.support.apptainer import apptainer_image

__all__ = ["apptainer_image"]
