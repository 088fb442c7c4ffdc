"""The thread that runs the networks, on images of all waiting requests together."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, NamedTuple

from classifold.serving.new_images import NewPixels
from classifold.serving.predict import Classifier, Prediction
from classifold.serving.web.limits import Admission

# Of networks on large images, which compute few at once; more would let single images wait.
MIN_IMAGES_AT_ONCE = 16


class _Image(NamedTuple):
    name: str
    pixels: NewPixels
    prediction: "Future[Prediction]"


class _Call(NamedTuple):
    function: Callable[[], Any]
    result: "Future[Any]"


class InferenceThread:
    """Predicts for waiting images in batches; the numbers are those of `Classifier.predict`.

    PyTorch uses the cores itself, so one thread suffices.
    """

    def __init__(self, classifier: Classifier, admission: Admission) -> None:
        self._classifier = classifier
        self._admission = admission
        self._batch_size = classifier.batch_size
        self._max_images = -(-MIN_IMAGES_AT_ONCE // self._batch_size) * self._batch_size
        self._images: deque[_Image] = deque()
        self._calls: deque[_Call] = deque()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def predict(self, name: str, pixels: NewPixels) -> "Future[Prediction]":
        """Predict for one image."""
        image = _Image(name, pixels, Future())
        with self._changed:
            self._images.append(image)
            self._changed.notify()
        return image.prediction

    def call(self, function: Callable[[], Any]) -> "Future[Any]":
        """Call a function that uses the networks."""
        call = _Call(function, Future())
        with self._changed:
            self._calls.append(call)
            self._changed.notify()
        return call.result

    def stop(self) -> None:
        """Finish what waits, and end the thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._images or self._calls or self._stopped)
                if not (self._images or self._calls):
                    return
                images = [self._images.popleft() for _ in range(self._n_next())]
                call = self._calls.popleft() if self._calls else None
            # A request that was given up has canceled its images.
            wanted = [one for one in images if one.prediction.set_running_or_notify_cancel()]
            if wanted:
                self._predict(wanted)
            if call and call.result.set_running_or_notify_cancel():
                _complete(call)

    def _n_next(self) -> int:
        """Count the images to take: whole batches, if there are enough."""
        n_images = min(len(self._images), self._max_images)
        return n_images - n_images % self._batch_size or n_images

    def _predict(self, images: list[_Image]) -> None:
        start = time.perf_counter()
        named = [(image.name, image.pixels) for image in images]
        try:
            predictions = self._classifier.predict_decoded(named)
        except Exception as error:  # each request reports it
            for image in images:
                image.prediction.set_exception(error)
            return
        self._admission.seconds_per_image = (time.perf_counter() - start) / len(images)
        for image, prediction in zip(images, predictions, strict=True):
            image.prediction.set_result(prediction)


def _complete(call: _Call) -> None:
    try:
        call.result.set_result(call.function())
    except Exception as error:  # the request reports it
        call.result.set_exception(error)
