"""The peers, and what is known of each before it runs."""

from pathlib import Path
from typing import NamedTuple

SCRIPTS = Path(__file__).parent / "scripts"


class Peer(NamedTuple):
    """A library, and the script that a user of its documentation would write."""

    name: str
    script: Path
    distribution: str  # whose version is shown
    limited: bool = False  # it takes a limit of time; others get epochs
    several_labels: bool = True
    ours: bool = False  # runs with the interpreter of the bench
    commands: bool = False  # the user writes a command, not lines of Python

    @property
    def n_lines(self) -> int:
        """Lines that a user writes: no docstring, comment or line for the bench."""
        text = self.script.read_text().split('"""')[-1]
        lines = (line.strip() for line in text.splitlines())
        return sum(bool(line) and not line.endswith("# bench") for line in lines)


PEERS = (
    Peer(
        "Classifold",
        SCRIPTS / "with_classifold.py",
        "classifold",
        limited=True,
        ours=True,
        commands=True,
    ),
    Peer("fastai", SCRIPTS / "with_fastai.py", "fastai"),
    Peer("timm and PyTorch", SCRIPTS / "with_timm.py", "timm"),
    Peer("timm and scikit-learn", SCRIPTS / "with_timm_features.py", "timm"),
    Peer("AutoTimm", SCRIPTS / "with_autotimm.py", "autotimm"),
    Peer(
        "AutoGluon MultiModal",
        SCRIPTS / "with_autogluon.py",
        "autogluon.multimodal",
        limited=True,
        several_labels=False,
    ),
    Peer(
        "Ultralytics",
        SCRIPTS / "with_ultralytics.py",
        "ultralytics",
        limited=True,
        several_labels=False,
    ),
    Peer("Keras", SCRIPTS / "with_keras.py", "keras", several_labels=False),
)
