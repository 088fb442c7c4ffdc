"""YAML is parsed once per text, since its parser, in pure Python, takes long."""

import hashlib
import pickle
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML


def parse_yaml_once(folder: Path | None = None) -> Callable[[YAML, str, Any], None]:
    """Change YAML.load of type "safe": a text is parsed once, and each caller gets a copy.

    Other processes find the parsed content in the folder, too. Returns a function that keeps the
    content of a text that was written, so that it is never parsed.
    """
    load, parsed = YAML.load, dict[str, bytes]()

    def key_of(yaml: YAML, text: str) -> str:
        return hashlib.sha256(repr((text, yaml.Constructor, yaml.Parser)).encode()).hexdigest()

    def keep(yaml: YAML, text: str, content: Any) -> None:
        key = key_of(yaml, text)
        parsed[key] = pickle.dumps(content)
        if folder:
            (unfinished := folder / uuid.uuid4().hex).write_bytes(parsed[key])
            unfinished.replace(folder / key)

    def load_once(self: YAML, stream: Any) -> Any:
        if not isinstance(stream, str) or self.typ != ["safe"]:
            return load(self, stream)
        key = key_of(self, stream)
        if folder and key not in parsed and (folder / key).exists():
            parsed[key] = (folder / key).read_bytes()
        if key not in parsed:
            keep(self, stream, load(self, stream))
        return pickle.loads(parsed[key])

    YAML.load = load_once
    return keep
