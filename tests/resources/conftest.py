from tests.support.apptainer import apptainer_image
from tests.support.attempts import memory_cgroup
from tests.support.registry import registry

__all__ = ["apptainer_image", "memory_cgroup", "registry"]
