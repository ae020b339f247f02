"""A small container image of busybox and one file, in every form in which images travel, made without any registry."""

import hashlib
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from tests.support.parts.not_run import not_run

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class ContainerImage:
    """The blobs of an image with one layer."""

    config: bytes
    layer: bytes

    @property
    def manifest(self) -> bytes:
        """Return the manifest, by whose digest a registry knows the image."""
        config = {"mediaType": _CONFIG, "digest": f"sha256:{_sha256(self.config)}", "size": len(self.config)}
        layer = {"mediaType": _LAYER, "digest": f"sha256:{_sha256(self.layer)}", "size": len(self.layer)}
        return json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]}).encode()

    @property
    def sha256(self) -> str:
        """Return the manifest's sha256."""
        return _sha256(self.manifest)


def busybox_image(mark: str) -> ContainerImage:
    """Return an image that has a shell and the mark in /mark."""
    busybox = shutil.which("busybox")
    if busybox is None:
        not_run("a static busybox", "apt-get install busybox-static")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
            _add(tar, name, b"", type=tarfile.DIRTYPE, mode=0o755)
        _add(tar, "bin/busybox", Path(busybox).read_bytes(), mode=0o755)
        for name in ("sh", "cat"):
            _add(tar, f"bin/{name}", b"", type=tarfile.SYMTYPE, linkname="busybox")
        _add(tar, "mark", mark.encode(), mode=0o644)
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_sha256(layer.getvalue())}"]},
    }
    return ContainerImage(json.dumps(config).encode(), layer.getvalue())


def write_docker_archive(image: ContainerImage, path: Path) -> str:
    """Write what `docker save` writes; return the file's sha256."""
    config = f"{_sha256(image.config)}.json"
    manifest = [{"Config": config, "RepoTags": ["lab/busybox:1"], "Layers": ["layer/layer.tar"]}]
    files = {config: image.config, "layer/layer.tar": image.layer, "manifest.json": json.dumps(manifest).encode()}
    return _write_tar(path, files)


def write_oci_archive(image: ContainerImage, path: Path) -> str:
    """Write an OCI image layout as one tar file; return the file's sha256."""
    blobs = {f"blobs/sha256/{_sha256(blob)}": blob for blob in (image.config, image.layer, image.manifest)}
    index = {
        "schemaVersion": 2,
        "manifests": [{"mediaType": MANIFEST, "digest": f"sha256:{image.sha256}", "size": len(image.manifest)}],
    }
    layout = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode()}
    return _write_tar(path, {**layout, **blobs}, ("blobs", "blobs/sha256"))


def _write_tar(path: Path, files: dict[str, bytes], directories: tuple[str, ...] = ()) -> str:
    with tarfile.open(path, "w") as tar:
        for name in directories:
            _add(tar, name, b"", type=tarfile.DIRTYPE, mode=0o755)
        for name, content in files.items():
            _add(tar, name, content)
    return _sha256(path.read_bytes())


def _add(tar: tarfile.TarFile, name: str, content: bytes, **fields: object) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(content))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
