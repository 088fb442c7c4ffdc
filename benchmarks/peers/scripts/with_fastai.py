"""fastai: a learner with published weights, fine-tuned, as in its quick start."""

from fastai.vision.all import *
from protocol import Bench  # bench

bench = Bench()  # bench


class Clock(Callback):  # bench
    def after_validate(self):  # bench
        bench.epoch()  # bench


train, val = (pd.read_csv(bench.data / f"{name}.csv").fillna("") for name in ("train", "val"))
several = bench.task == "multi"
dls = ImageDataLoaders.from_df(
    pd.concat([train.assign(is_valid=False), val.assign(is_valid=True)]),
    bench.data,
    valid_col="is_valid",
    label_delim="|" if several else None,
    item_tfms=Resize(224),
)
metric = F1ScoreMulti(average="micro") if several else accuracy
learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=metric)
learn.to_channelslast(use_amp=False)
with bench.training():  # bench
    learn.fine_tune(bench.epochs, cbs=Clock())

files = get_image_files(bench.data / "test")
scores, _ = learn.get_preds(dl=dls.test_dl(files))
chosen = scores > 0.5 if several else scores == scores.max(dim=1, keepdim=True).values
labels = [dls.vocab[row.numpy()] for row in chosen]
done = f"head 1 epoch, then all {bench.epochs}"  # bench
bench.report(files, labels, weights="ImageNet", done=done)  # bench
