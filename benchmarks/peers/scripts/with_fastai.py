"""fastai: a learner with published weights, fine-tuned, as in its vision tutorial."""

from fastai.vision.all import (
    Callback,
    F1ScoreMulti,
    ImageDataLoaders,
    Resize,
    accuracy,
    aug_transforms,
    get_image_files,
    pd,
    vision_learner,
)
from protocol import Bench  # bench

bench = Bench()  # bench


class Clock(Callback):  # bench
    def after_validate(self):  # bench
        bench.epoch()  # bench


train, val = pd.read_csv(bench.data / "train.csv"), pd.read_csv(bench.data / "val.csv")
several = bench.task == "multi"
dls = ImageDataLoaders.from_df(
    pd.concat([train.assign(is_valid=False), val.assign(is_valid=True)]),
    bench.data,
    valid_col="is_valid",
    label_delim="|" if several else None,
    item_tfms=Resize(224),
    batch_tfms=aug_transforms(),
)
metric = F1ScoreMulti(average="micro") if several else accuracy
learn = vision_learner(dls, "tf_efficientnet_lite0", metrics=metric)
with bench.training():  # bench
    learn.fine_tune(bench.epochs, cbs=Clock())

files = get_image_files(bench.data / "test")
scores, _ = learn.get_preds(dl=dls.test_dl(files))
chosen = scores > 0.5 if several else scores == scores.max(dim=1, keepdim=True).values
labels = [dls.vocab[row.numpy()] for row in chosen]
done = f"head 1 epoch, then all {bench.epochs}"  # bench
bench.report(files, labels, weights="ImageNet", done=done)  # bench
