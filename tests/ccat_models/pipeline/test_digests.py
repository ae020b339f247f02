from hashlib import sha256

import pytest

from ccat_models.fingerprint import files_checksum
from ccat_models.pipeline.digests import canonical_json, config_hash


def test_a_configuration_is_its_canonical_json() -> None:
    assert canonical_json({"b": [1, 1.0, "é"], "a": None}) == '{"a":null,"b":[1,1.0,"é"]}'
    assert config_hash({"b": 1, "a": {}}) == config_hash({"a": {}, "b": 1}) == sha256(b'{"a":{},"b":1}').hexdigest()
    assert config_hash({"a": 1}) != config_hash({"a": 1.0})
    with pytest.raises(ValueError, match=r"^Out of range float values are not JSON compliant"):
        canonical_json(float("nan"))


def test_code_is_its_files_and_their_paths_in_any_order() -> None:
    assert files_checksum({"a.py": "1", "b.py": "2"}) == files_checksum({"b.py": "2", "a.py": "1"})
    others = [{"a.py": "2", "b.py": "1"}, {"a.py": "1"}, {}, {'a.py":"1","b.py': "2"}]
    assert len({files_checksum(files) for files in [{"a.py": "1", "b.py": "2"}, *others]}) == 5
