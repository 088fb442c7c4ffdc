"""`classifold serve`: a page and an API that classify images."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import typer

from classifold.cli.errors import report_errors
from classifold.cli.options import ModelName, ModelsFolder


@report_errors(kept="the server has stopped")
def serve(
    model: ModelName = "stack",
    models: ModelsFolder = Path("models"),
    host: Annotated[
        str, typer.Option(help="The address to listen at; 0.0.0.0: reachable from other machines.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free port.")] = 8000,
    *,
    top: Annotated[int, typer.Option(min=1, help="The number of classes listed per image.")] = 5,
    abstain: Annotated[
        float | None, typer.Option(min=0, max=1, help="As in 'classifold predict'.")
    ] = None,
    max_mib: Annotated[
        int, typer.Option(min=1, max=1024, help="The maximum size of a request, in MiB.")
    ] = 64,
    max_waiting: Annotated[
        int,
        typer.Option(
            min=1, help="The maximum number of images that wait; more are refused with status 429."
        ),
    ] = 256,
) -> None:
    """Serve a page and a JSON API that classify images with the trained stack, or with one model.

    Needs the models that 'dvc repro' trains. Open the printed address in a browser. The numbers
    are those of 'classifold predict'. No image is kept, and nothing is sent to another machine.
    """
    from classifold.models.device import share_freed_memory
    from classifold.runtime.progress import log, warn
    from classifold.serving.predict import Classifier
    from classifold.serving.web.app import make_app
    from classifold.serving.web.limits import MIB, Limits
    from classifold.serving.web.security import is_loopback
    from classifold.serving.web.server import address_of, bind, run

    limits = Limits(max_body=max_mib * MIB, max_waiting=max_waiting)
    limits = limits._replace(max_images=min(limits.max_images, max_waiting))
    with bind(host, port) as listener:
        share_freed_memory()
        # In a thread that ends: OpenMP keeps threads for each one that has computed, and where they
        # are more than the cores, those of the inference thread leave their core at each wait.
        # Ctrl-C takes effect when the models are loaded.
        with ThreadPoolExecutor(1) as thread:
            loading = thread.submit(Classifier.load, model=model, models=models, abstain=abstain)
            classifier = loading.result()
        app = make_app(classifier, host=host, top=top, limits=limits)
        if not is_loopback(host):
            warn([f"--host {host}: everybody who reaches this machine can use the server"])
        name = "the stack" if model == "stack" else model
        described = f"{name}, {len(classifier.classes):,} classes"
        log(f"{described}, is served at {address_of(listener)} (Ctrl-C stops it)")
        run(app, listener, limits)
    log("stopped")
