"""Ultralytics: its smallest classifier, from random weights, with a limit of time."""

from pathlib import Path

from protocol import Bench  # bench
from ultralytics import YOLO

bench = Bench()  # bench
bench.data = bench.data.resolve()  # bench
model = YOLO("yolo26n-cls.yaml")
with bench.training():  # bench
    model.train(data=bench.data, imgsz=224, time=bench.budget / 3600, project=bench.out)

results = list(model.predict(bench.data / "test", stream=True))
rows = len((Path(model.trainer.save_dir) / "results.csv").read_text().splitlines()) - 1  # bench
bench.n_seen = rows * bench.n_train  # bench
names = [result.path for result in results]  # bench
labels = [[result.names[result.probs.top1]] for result in results]
done = f"epochs: {rows}"  # bench
bench.report(names, labels, weights="random", done=done)  # bench
