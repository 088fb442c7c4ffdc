"""The benchmarks in a tiny form, and the table that they write."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "benchmarks"))

from comparison import BEGIN, END, Benchmark, Ratio, replace_table, table  # noqa: E402
from forked_python import forked_tools  # noqa: E402


def test_ratios_are_of_speeds_or_of_times():
    benchmark = Benchmark("ingest", "a loop", "images", 100, print, print, target=1.5)
    by_hand = Ratio(benchmark, ours=[2, 1, 4], theirs=[4, 3, 2])
    assert str(by_hand) == "ingest: 50 images/s, a loop: 33 images/s, ratio 2.00 (0.50-3.00)"
    assert "| speed 2.00 (0.50 to 3.00) | at least 1.5 |" in table([by_hand])
    of_times = by_hand._replace(benchmark=benchmark._replace(of_times=True))
    assert "| time 0.50 (0.33 to 2.00) | at most 1.5 |" in table([of_times])


def test_a_table_replaces_the_one_of_a_page_and_nothing_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}old\n{END}after\n")
    replace_table(page, "new \\1\n")
    assert page.read_text() == f"before\n{BEGIN}\nnew \\1\n\n{END}after\n"
    page.write_text("a page without a table\n")
    with pytest.raises(SystemExit, match=r"page\.md: must have the line"):
        replace_table(page, "new")


@pytest.mark.slow
def test_the_bench_in_a_tiny_form(tmp_path):
    page = tmp_path / "page.md"
    page.write_text((ROOT / "docs/SPEED.md").read_text())
    suites = ["train", "epochs", "warp", "ingest", "engine", "duplicates", "split", "augment"]
    command = [forked_tools() / "python", "benchmarks/run.py", "--tiny", *suites, "serve"]
    subprocess.run([*command, "--docs", page], cwd=ROOT, check=True)
    rows = [line for line in page.read_text().splitlines() if line.startswith("| P")]
    named = {row.split()[1] for row in rows if row.count("|") == 6}
    assert {"P1", "P2", "P3", "P5", "P8", "P10", "P13"} <= named
