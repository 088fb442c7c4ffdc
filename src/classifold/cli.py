"""The command line: `classifold check`, `predict`, `refit`, `lr-find`, `search` and others."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from threadpoolctl import threadpool_limits

from classifold.errors import UserError
from classifold.params.reader import PARAMS_FILE
from classifold.params.validation import check_params
from classifold.plain_text import plain_text
from classifold.project.dvc_files import damaged_copies, mend_dvc_files
from classifold.project.plots_page import plots_page
from classifold.project.recipes import RECIPES, list_recipes, take_recipe
from classifold.runtime.encoding import use_utf8
from classifold.runtime.faults import describe_error
from classifold.runtime.progress import track
from classifold.runtime.stage import INTERRUPTED

EMBEDDED = Path("data/raw/digits")  # which the stage `digits` makes
PACKS = Path("data/augmented")
MODELS = Path("models")
SEARCHES = Path(".cache/searches")  # outside of the outputs, which DVC removes

app = typer.Typer(
    help="A pipeline from a folder of labelled images to a classifier its owner can defend.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@contextmanager
def _told_without_traceback(kept: str = "nothing half-written is left") -> Iterator[None]:
    """End the command with a user's mistake, or Ctrl-C, as one message; `kept` is what is left."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped by Ctrl-C; {kept}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        message = describe_error(error)
        if message is None:
            raise
        print(plain_text(message), file=sys.stderr)
        raise typer.Exit(1) from None


@app.callback()
def start() -> None:
    """Begin every command alike, whatever the locale."""
    use_utf8()
    threadpool_limits(1)  # as in stages, so that the same is answered


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="The file to check.")] = PARAMS_FILE,
    cache: Annotated[
        bool, typer.Option("--cache", help="Look for damage in DVC's cache, and take it out.")
    ] = False,
) -> None:
    """Check params.yaml against its schema, and that its networks can be built, before any stage.

    Nothing is computed. Where a DVC that was killed left dvc.lock cut short, it is restored.
    """
    with _told_without_traceback():
        for mended in mend_dvc_files(Path()):
            print(mended)
        if cache:
            _take_out_damage()
        content = check_params(path)
        _require_data(Path(content["dataset"]["path"]), layout=content["dataset"]["layout"])
        # Slow to import, so not before what needs no torch is right.
        from classifold.models.device import choose_device  # noqa: PLC0415
        from classifold.training.try_model import try_model  # noqa: PLC0415

        choose_device(content["train"]["device"])
        for name, model in content["models"].items():
            try_model(name, model)
    print(f"{path} is right: {content['dataset']['path']}, models {', '.join(content['models'])}")


def _take_out_damage() -> None:
    damaged = damaged_copies(Path())
    for copy in damaged:
        copy.unlink()
        print(f"{copy} was damaged, and is removed")
    if damaged:
        print("'dvc pull' brings back what a remote has, and 'dvc repro' makes the rest again")
    else:
        print("DVC's cache is whole")


def _require_data(path: Path, *, layout: str) -> None:
    """Say where the data are missing, before DVC says no more than that a file is not there."""
    if layout.startswith("torchvision:") and not path.is_dir():
        raise UserError(
            f"dataset.path in params.yaml names {path}, which is no folder; make it with "
            f"'mkdir -p {path}', and {layout} is downloaded into it where there is a network"
        )
    try:
        path.exists()
    except OSError as error:  # a name that no file can have
        raise UserError(f"dataset.path in params.yaml cannot be a path: {error.strerror}") from None
    made_by_dvc = path == EMBEDDED or Path(f"{path}.dvc").is_file()
    if not path.exists() and not made_by_dvc:
        raise UserError(
            f"dataset.path in params.yaml names {path}, which does not exist; correct it, or add "
            f"your images with 'dvc add <folder or zip> -o {path}'"
        )


@app.command()
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            help="Image files, folders, zip or tar archives; or the word unlabelled: the images "
            "of the image table that have no label."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
    top: Annotated[int, typer.Option(min=1, help="Classes told of each image.")] = 5,
    model: Annotated[str, typer.Option(help="stack, or a name of `models`.")] = "stack",
    models: Annotated[Path, typer.Option(help="Folder of the networks, such as refit.")] = MODELS,
) -> None:
    """Answer for new images by the trained stack, or by one model.

    Needs what `dvc repro` trains. An image that cannot be decoded is a row with a reason.
    """
    # Heavy, and of no use to the other commands.
    from classifold.serving.new_images import open_images  # noqa: PLC0415
    from classifold.serving.predict import Classifier  # noqa: PLC0415
    from classifold.serving.predictions_file import write_answers  # noqa: PLC0415

    with _told_without_traceback():
        classifier = Classifier.load(model=model, models=models)
        with open_images(images, ingested=classifier.ingested) as opened:
            _keep_images(out, images)
            n_images = len(opened.names)
            answers = classifier.answers(opened)
            n_unreadable = write_answers(
                out,
                track(answers, task="predict", total=n_images, unit="images"),
                task=classifier.task,
                top=min(top, len(classifier.classes)),
            )
    whose = "the stack" if model == "stack" else model
    print(f"{out} holds what {whose} answers to {n_images - n_unreadable:,} images")
    if n_unreadable:
        print(f"{n_unreadable:,} of {n_images:,} could not be read; the column reason tells why")


@app.command()
def export(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    file_format: Annotated[str, typer.Option("--format", help="onnx.")] = "onnx",
    model: Annotated[str, typer.Option(help="stack, or a name of `models`.")] = "stack",
    models: Annotated[Path, typer.Option(help="Folder of the networks, such as refit.")] = MODELS,
) -> None:
    """Write the trained stack, or one model, as a file that other programs run.

    Needs what `dvc repro` trains. The file is kept only if it gives the same answers.
    """
    # Heavy, and of no use to the other commands.
    from classifold.serving.export import export_onnx, images_to_check, require_packages  # noqa: PLC0415
    from classifold.serving.predict import Classifier  # noqa: PLC0415

    with _told_without_traceback():
        if file_format != "onnx":
            raise UserError(f"--format must be onnx, got {file_format}")
        require_packages()
        classifier = Classifier.load(model=model, models=models)
        exported = export_onnx(out, classifier, images_to_check(classifier, packs=PACKS))
    print(
        f"{out} answers as torch does: on {exported.n_images} validation images probabilities "
        f"differ by {exported.difference:.1g} at most"
    )


@app.command()
def report(
    against: Annotated[
        str, typer.Option(help="A branch, tag, commit or experiment to compare with.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; reports/against-<name>.html if not said."),
    ] = None,
) -> None:
    """Write the page of this run beside another revision's scores, data and params.

    Needs what `dvc repro` leaves; differences have intervals where DVC's cache holds the answers
    of the other revision.
    """
    # Heavy, and of no use to the other commands.
    from classifold.reporting.comparison import compare  # noqa: PLC0415
    from classifold.reporting.facts import Folders, read_facts  # noqa: PLC0415
    from classifold.reporting.page import write_page  # noqa: PLC0415
    from classifold.reporting.provenance import read_provenance  # noqa: PLC0415
    from classifold.reporting.revision import read_revision  # noqa: PLC0415

    with _told_without_traceback():
        params = check_params()
        try:
            text = PARAMS_FILE.read_text(encoding="utf-8")
            facts = read_facts(Folders.of(Path()), params=params, params_text=text)
        except FileNotFoundError as error:
            raise UserError(
                f"there is no {error.filename} here, so there is nothing to compare; run "
                "'dvc repro', or 'dvc pull dvc.yaml' where a remote has the results"
            ) from None
        comparison = compare(facts, read_revision(Path(), against))
        name = re.sub(r"[^\w.-]+", "-", against)
        page = out or Path("reports") / f"against-{name}.html"
        write_page(page, facts, read_provenance(Path()), comparison)
    print(comparison.sentence)
    print(f"{page} shows the rest; open it in a browser")


def _keep_images(out: Path, images: list[str]) -> None:
    """Refuse to write over what is read."""
    if out.is_file() and any(Path(name).exists() and out.samefile(name) for name in images):
        raise UserError(f"--out names {out}, which is one of the images; name another file")


@app.command()
def augmentations(  # noqa: PLR0917 - the command's options
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    policy: Annotated[str, typer.Option(help="A name of `policies` in params.yaml.")],
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("augmentations.html"),
    draws: Annotated[int, typer.Option(min=1, max=200, help="Epochs to show.")] = 11,
    size: Annotated[int, typer.Option(min=8, max=1024, help="Pixels to resize to.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 1,
) -> None:
    """Write a page that shows what a policy of online augmentation makes of images."""
    # Heavy, and of no use to the other commands.
    from classifold.reporting.augmentations import write_gallery  # noqa: PLC0415
    from classifold.serving.image_files import read_images  # noqa: PLC0415

    with _told_without_traceback():
        policies = check_params()["policies"]
        if policy not in policies:
            raise UserError(f"params.yaml has no policy '{policy}'; it has {', '.join(policies)}")
        write_gallery(
            out,
            read_images(images, size=size),
            policies[policy],
            policy_name=policy,
            names=[path.name for path in images],
            n_epochs=draws,
            seed=seed,
        )
    print(f"{out} shows {policy} on {len(images)} image{'s' * (len(images) != 1)}")


@app.command("lr-find")
def lr_find(
    model: Annotated[str, typer.Argument(help="A name of `models` in params.yaml.")],
    out: Annotated[Path, typer.Option(help="The picture to write; a CSV beside it.")] = Path(
        "lr_find.png"
    ),
    lowest: Annotated[float, typer.Option(min=1e-12, help="The first rate.")] = 1e-6,
    highest: Annotated[float, typer.Option(min=1e-12, help="The last rate.")] = 10.0,
    steps: Annotated[int, typer.Option(min=10, help="How many rates are tried.")] = 100,
) -> None:
    """Try rising learning rates on a model's training images, and suggest one.

    Needs the packs that `dvc repro augment` makes. Nothing that training made is changed.
    """
    # Heavy, and of no use to the other commands.
    from classifold.reporting.lr_plot import write_lr_plot  # noqa: PLC0415
    from classifold.search.lr_finder import try_rates  # noqa: PLC0415
    from classifold.training.out_of_memory import explain_out_of_memory  # noqa: PLC0415
    from classifold.training.setup import prepare  # noqa: PLC0415

    with _told_without_traceback():
        params = check_params()
        if model not in params["models"]:
            raise UserError(
                f"params.yaml has no model '{model}'; it has {', '.join(params['models'])}"
            )
        _require_packs()
        if lowest >= highest:
            raise UserError(f"--lowest ({lowest:g}) must be below --highest ({highest:g})")
        settings = params["models"][model]
        training = prepare(params["train"], settings, packs=PACKS)
        with explain_out_of_memory(model):
            tried = try_rates(
                training.network,
                training.train,
                recipe=training.recipe,
                policy=params["policies"][settings["online"]],
                machine=training.machine,
                lowest=lowest,
                highest=highest,
                n_steps=steps,
            )
        write_lr_plot(out, tried, model=model)
        print(
            f"{out} shows the loss at {len(tried.rates)} rates; it falls most steeply at "
            f"{tried.suggestion():.2g}, a fair peak for one_cycle and cyclical schedules; a "
            "constant rate is best taken somewhat lower"
        )


@app.command()
def search(
    file: Annotated[Path, typer.Argument(help="Such as one of studies/search/searches.")],
    workers: Annotated[
        int,
        typer.Option(
            min=1, max=256, help="Processes that train.", envvar="CLASSIFOLD_SEARCH_WORKERS"
        ),
    ] = 1,
    storage: Annotated[
        str | None,
        typer.Option(
            help="sqlite:///<file> or postgresql://…; a file in .cache/searches, if not given.",
            envvar="CLASSIFOLD_SEARCH_STORAGE",
        ),
    ] = None,
    apply: Annotated[
        bool, typer.Option("--apply", help="Run nothing: write the best so far into params.yaml.")
    ] = False,
) -> None:
    """Search for better settings of a model, or go on with a search that was stopped.

    Needs the packs that `dvc repro augment` makes. Several may work on one search: start it again,
    with the same storage. A page, a table and metrics are written once all trials have ended.
    """
    # Heavy, and of no use to the other commands.
    from classifold.reporting.search_page import write_search_page  # noqa: PLC0415
    from classifold.search.apply import apply_best  # noqa: PLC0415
    from classifold.search.plan import make_plan  # noqa: PLC0415
    from classifold.search.results import write_results  # noqa: PLC0415
    from classifold.search.storage import storage_url  # noqa: PLC0415
    from classifold.search.worker import run_search  # noqa: PLC0415

    with _told_without_traceback("what was finished is kept, and the same command goes on"):
        _require_packs()
        plan = make_plan(file, check_params(), packs=PACKS)
        url = storage_url(storage, default=SEARCHES / f"{file.stem}.sqlite3")
        if apply:
            told = apply_best(PARAMS_FILE, plan, url=url)
            print("\n".join(told))
            return
        rows = run_search(plan, url=url, n_workers=workers)
        page = Path("reports/search") / file.stem / "index.html"
        write_search_page(page, rows, plan)
        best = write_results(
            rows, plan, metrics=Path("metrics/search"), table=page.with_name("trials.csv")
        )
    print(f"{best}; all trials: {page}")


def _require_packs() -> None:
    if not (PACKS / "train" / "pack.json").is_file():
        raise UserError(f"there is no pack in {PACKS}; make it with 'dvc repro augment'")


@app.command()
def refit(
    models: Annotated[list[str], typer.Argument(help="Names of `models` in params.yaml.")],
    out: Annotated[Path, typer.Option(help="A folder for each goes into this one.")] = Path(
        "refit"
    ),
) -> None:
    """Train chosen models once more, on training and validation images together.

    Each phase takes as many epochs as the one that `dvc repro` kept. Nothing is left to measure
    the result on but the test images; the score to quote is that of `dvc repro`. Nothing that the
    pipeline made is changed.
    """
    # Heavy, and of no use to the other commands.
    from classifold.serving.refit import refit_model  # noqa: PLC0415
    from classifold.training.out_of_memory import explain_out_of_memory  # noqa: PLC0415

    with _told_without_traceback():
        params = check_params()
        for model in models:
            if model not in params["models"]:
                raise UserError(
                    f"params.yaml has no model '{model}'; it has {', '.join(params['models'])}"
                )
            with explain_out_of_memory(model):
                refit_model(model, params, root=Path(), folder=out / model)
    print(f"{out} holds {', '.join(models)}, fitted to training and validation images together")


@app.command()
def recipe(
    name: Annotated[str | None, typer.Argument(help="A file of recipes/; none lists all.")] = None,
    short: Annotated[
        bool, typer.Option("--short", help="In its short form: few images, few epochs.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Even if changes of params.yaml are lost.")
    ] = False,
) -> None:
    """Write a recipe to params.yaml, and say what changed."""
    with _told_without_traceback():
        if name is None:
            for known, title in list_recipes(Path()).items():
                print(f"{known}: {title}")
            return
        changed = take_recipe(name, short=short, force=force, root=Path())
        form = "in its short form, " if short else ""
        print(f"{PARAMS_FILE} is now {RECIPES / name}.yaml, {form}and differs so:")
        for line in changed:
            print(f"  {line}")
        dataset = check_params()["dataset"]
        try:
            _require_data(Path(dataset["path"]), layout=dataset["layout"])
        except UserError as missing:
            print(f"Before 'dvc repro': {missing}")


@app.command("plots-page")
def write_plots_page(path: Annotated[Path, typer.Argument(help="Where to write it.")]) -> None:
    """Write the page that `dvc plots` puts its charts into, so that they open offline."""
    path.write_text(plots_page(), encoding="utf-8")
