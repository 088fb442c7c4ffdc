"""`make mutants`: its faults are in the code, and it reports those that no test notices."""

import os
import subprocess
from pathlib import Path

import pytest

from forked_python import forked_tools
from mutants.faults import read_faults

TESTS = Path(__file__).parent
FAULTS = """
["data/seeding.py"]
tests = ["test_seeding.py"]
faults = [['default_rng([seed, *(', 'default_rng([0, *('], ['2**63', '2**62']]
"""


def test_the_text_of_each_fault_occurs_once_in_the_code():
    faults = read_faults()
    assert len({fault.file for fault in faults}) > 30
    for fault in faults:
        compile(fault.of(fault.original()), fault.file, "exec")
        assert fault.faulty != fault.text, fault
        assert all((TESTS / name).is_file() for name in fault.tests), fault


@pytest.mark.slow
def test_a_fault_that_no_test_notices_is_reported(tmp_path):
    (tmp_path / "faults.toml").write_text(FAULTS)
    done = subprocess.run(
        [forked_tools() / "python", "-m", "mutants", "--faults", tmp_path / "faults.toml"],
        env=os.environ | {"PYTHONPATH": f"{TESTS}{os.pathsep}{TESTS.parent / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "| `data/seeding.py` | 2 | 1 |" in done.stdout, done.stderr
    assert "'2**63' -> '2**62': no reason is given" in done.stdout
    assert done.returncode == 1
