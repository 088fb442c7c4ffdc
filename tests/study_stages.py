"""The stages of a study's `dvc.yaml`, with paths from the project's folder."""

import os.path
from pathlib import Path

from ruamel.yaml import YAML

STUDIES = Path(__file__).parents[1] / "studies"


def read_study(name: str) -> dict[str, dict]:
    """Read the stages; `params` lists the keys of the pipeline's file, then a mapping per file."""
    stages = YAML(typ="safe").load((STUDIES / name / "dvc.yaml").read_text())["stages"]
    for entry in stages.values():
        stage = entry.get("do", entry)
        assert stage["wdir"] == ".."
        assert stage["cmd"].startswith("cd .. && ")
        (params,) = (item for item in stage["params"] if "../params.yaml" in item)
        own = [
            {from_root(file): keys for file, keys in item.items()}
            for item in stage["params"]
            if item is not params
        ]
        stage["params"] = [*params["../params.yaml"], *own]
        stage["deps"] = [from_root(dep) for dep in stage["deps"]]
        stage["outs"] = [
            {from_root(path): settings for path, settings in out.items()} for out in stage["outs"]
        ]
    return stages


def from_root(path: str) -> str:
    path = os.path.normpath(f"studies/{path}")
    return path.removeprefix("studies/") if path.startswith("studies/src/") else path
