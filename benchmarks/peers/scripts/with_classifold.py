"""Classifold: one command, from the archive to the report."""

import json  # bench
import subprocess

import pyarrow.parquet as pq  # bench
from protocol import Bench  # bench

bench = Bench()  # bench
sources = json.loads((bench.data.parent / "sources.json").read_text())  # bench
archive, project = sources["archive"], bench.out / "project"  # bench
if bench.budget < 240:
    options = ["--preset", "quick"]
else:
    options = ["--preset", "good", "--minutes", f"{bench.budget / 60:g}"]
subprocess.run(["classifold", "fit", archive, "--out", str(project), *options], check=True)

path = project / "data/evaluated/predictions.parquet"  # bench
rows = [row for row in pq.read_table(path).to_pylist() if row["model"] == "stack"]  # bench
assert {row["id"] for row in rows} == set(sources["test"]), "fit has another test split"  # bench
done = []  # bench
for metrics in sorted((project / "metrics/train").glob("*.json")):  # bench
    n_epochs = json.loads(metrics.read_text())["n_epochs"]  # bench
    done.append(f"{metrics.stem} {n_epochs}")  # bench
    bench.n_seen += n_epochs * bench.n_train  # bench
    timing = json.loads((project / "timings/train" / metrics.name).read_text())  # bench
    bench.seconds += timing["seconds"]  # bench
files = [sources["test"][row["id"]] for row in rows]  # bench
labels = [[name for name in row["predicted"].split("|") if name] for row in rows]  # bench
done = f"epochs: {', '.join(done)}"  # bench
ready = path.stat().st_mtime  # bench
bench.report(files, labels, weights="ImageNet", done=done, ready=ready)  # bench
