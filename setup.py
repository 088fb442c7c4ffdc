"""Build the package; pyproject.toml has everything else."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FILES = ("dvc.yaml", "params.yaml", ".gitignore", ".dvcignore", ".dvc/config")
FOLDERS = ("stages", "recipes", ".dvc/plots", "examples/ci")


class BuildWithRepository(build_py):
    """Copy into the wheel what an installed package needs of the repository around `src/`.

    `classifold.project.repository` finds these files in a clone as well as in the wheel.
    """

    def run(self) -> None:
        """Build the package, then copy the files."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "classifold/repository"
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        for name in self._repository_files():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)

    def get_source_files(self) -> list[str]:
        """List the files for a source distribution, too."""
        return [*super().get_source_files(), *self._repository_files()]

    def _repository_files(self) -> list[str]:
        folders = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
        files = (path for path in folders if path.is_file() and path.suffix != ".pyc")
        return [*FILES, *sorted(path.relative_to(ROOT).as_posix() for path in files)]


setup(cmdclass={"build_py": BuildWithRepository})
