"""Faults of the code that tests must notice, read from `faults.toml`."""

import tomllib
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).parents[2] / "src/classifold"
FAULTS = Path(__file__).with_name("faults.toml")


class Fault(NamedTuple):
    """A text of a file, and a faulty one for it."""

    file: str  # below src/classifold/
    tests: tuple[str, ...]  # files of tests
    text: str
    faulty: str
    reason: str = ""  # why no test can notice it

    def of(self, source: str) -> str:
        """Put the fault into the source of its file."""
        if (n := source.count(self.text)) != 1:
            raise ValueError(
                f"{self.file}: the text of a fault must occur once, got {n} times: {self.text!r}. "
                "Write the fault for the new code in tests/mutants/faults.toml."
            )
        return source.replace(self.text, self.faulty)

    def __str__(self) -> str:
        line = self.original().partition(self.text)[0].count("\n") + 1
        return f"{self.file}:{line}: {self.text!r} -> {self.faulty!r}"

    def original(self) -> str:
        return (SOURCE / self.file).read_text()


def read_faults(path: Path = FAULTS) -> list[Fault]:
    return [
        Fault(file, tuple(of_file["tests"]), *texts)
        for file, of_file in tomllib.loads(path.read_text()).items()
        for texts in of_file["faults"]
    ]
