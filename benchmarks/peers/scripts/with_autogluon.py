"""AutoGluon MultiModal: tables of images and labels, and a limit of time."""

import pandas as pd
from autogluon.multimodal import MultiModalPredictor
from protocol import Bench  # bench

bench = Bench()  # bench


def read(name):
    table = pd.read_csv(bench.data / f"{name}.csv")
    return table.assign(image=[str(bench.data.resolve() / image) for image in table["image"]])


path = str(bench.out / "model")
predictor = MultiModalPredictor(label="labels", presets="medium_quality", path=path)
with bench.training():  # bench
    predictor.fit(
        train_data=read("train"),
        tuning_data=read("val"),
        time_limit=bench.budget,
        hyperparameters={
            "model.timm_image.checkpoint_name": "tf_efficientnet_lite0",
            "env.batch_size": 32,
            "env.per_gpu_batch_size": 32,
            "optim.max_epochs": max(1, round(bench.budget / 100)),  # as many as the limit allows
        },
    )
test = read("test")
predicted = predictor.predict(test)
labels = [[label] for label in predicted]  # bench
bench.report(test["image"], labels, weights="ImageNet", done="until its limit")  # bench
