"""YAML is parsed once per process and text, since its parser, in pure Python, takes long."""

import pickle
from collections.abc import Hashable
from typing import Any

from ruamel.yaml import YAML


def parse_yaml_once() -> None:
    """Change how plain values are loaded, from here on; each caller gets a copy."""
    load, parsed = YAML.load, dict[tuple[Hashable, ...], bytes]()

    def load_once(self: YAML, stream: Any) -> Any:
        if not isinstance(stream, str) or self.typ != ["safe"]:
            return load(self, stream)
        key = (stream, self.Constructor, self.Parser)
        if key not in parsed:
            parsed[key] = pickle.dumps(load(self, stream))
        return pickle.loads(parsed[key])

    YAML.load = load_once
