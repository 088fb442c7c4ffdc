"""`params.yaml` as one typed schema, checked whole whenever any stage starts.

The schema checks and fills in nothing: what a stage gets is what the file says. It mirrors
the signatures that the values are unpacked into.
"""

import ast
import difflib
import math
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError
from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError, SafeConstructor
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from classifold.errors import UserError
from classifold.plain_text import one_line, plain_text

PARAMS_FILE = Path("params.yaml")
NETWORKS = Path(__file__).parent / "networks"

# A file of params is some thousands of letters; a larger one was made to take time or memory.
MOST_BYTES = 2**18
MOST_LETTERS_WRITTEN_OUT = 2**20  # where every alias stands for all that it names
MOST_DIGITS = 40

MOST_LETTERS_TOLD = 500  # of a broken rule

# Of the 64 bits of a perceptual hash; further apart are strangers, and the search grows slow.
MOST_BITS_APART = 12

# Each trains every model once more.
MOST_FOLDS = 20

# What the arguments of networks are annotated with, as YAML has it; of others nothing is checked.
ARGUMENT_TYPES: dict[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "float | None": float | None,
    "Sequence[int]": list[int],
    "Mapping[str, str] | None": dict[str, str] | None,
    "str | Mapping[str, str] | None": str | dict[str, str] | None,
}

Share = Annotated[float, Field(ge=0, le=1)]
Probability = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Pixels = Annotated[int, Field(ge=4, le=2048)]
Fill = Literal["reflect", "edge", "black"]
Degrees = Annotated[float, Field(ge=0, le=180)]
Slant = Annotated[float, Field(ge=0, le=60)]
ShiftShares = Annotated[list[Share], Field(min_length=2, max_length=2)]


def _is_name(name: str) -> str:
    """Names are parts of dotted keys, of files' names and of commands."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise ValueError("a name must be a letter followed by letters, digits, '_' or '-'")
    return name


def _is_model_name(name: str) -> str:
    if name in {"stack", "majority_baseline"}:
        raise ValueError("a model's name must be neither 'stack' nor 'majority_baseline'")
    return _is_name(name)


Name = Annotated[str, AfterValidator(_is_name)]
ModelName = Annotated[str, AfterValidator(_is_model_name)]


def _ascends(limits: list[float]) -> list[float]:
    if limits[0] > limits[1]:
        raise ValueError(f"must be [smallest, largest], got {limits}")
    return limits


Range = Annotated[list[Positive], Field(min_length=2, max_length=2), AfterValidator(_ascends)]
FactorRange = Annotated[
    list[NotNegative], Field(min_length=2, max_length=2), AfterValidator(_ascends)
]


class Section(BaseModel):
    """A mapping of known keys, each of which must be of the right type."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _knows_its_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        known = list(cls.model_fields)
        for key in given:
            if key not in known:
                close = difflib.get_close_matches(str(key), known, n=1)
                hint = f"did you mean '{close[0]}'? " if close else ""
                raise PydanticCustomError(
                    "unknown_key",
                    "unknown key '{key}'; {hint}known here: {known}",
                    {"key": str(key), "hint": hint, "known": ", ".join(known)},
                )
        return given


class Dataset(Section):
    path: Annotated[str, Field(min_length=1)]
    layout: str
    task: Literal["single", "multi"]

    @field_validator("layout")
    @classmethod
    def _is_known(cls, layout: str) -> str:
        known = ("auto", "folder", "tiny-imagenet", "annotations", "table")
        if layout in known or re.fullmatch(r"torchvision:[A-Za-z0-9_]+", layout):
            return layout
        raise ValueError(
            f"layout must be one of {', '.join(known)} or torchvision:<Class>, got '{layout}'"
        )


class Limit(Section):
    images_per_class: Annotated[int, Field(ge=3)] | None  # one for each part
    epochs: Count | None


class Ingest(Section):
    background: Annotated[
        list[Annotated[int, Field(ge=0, le=255)]], Field(min_length=3, max_length=3)
    ]
    most_unreadable: Share


class SizeRule(Section):
    rule: Literal["modal", "ranges", "none"]
    tolerance: Annotated[int, Field(ge=0)]
    width: Range | None = None
    height: Range | None = None
    area: Range | None = None
    aspect: Range | None = None

    @model_validator(mode="after")
    def _ranges_are_given(self) -> Self:
        names = ("width", "height", "area", "aspect")
        given = [name for name in names if getattr(self, name) is not None]
        if self.rule == "ranges" and not given:
            raise ValueError(
                "rule: ranges needs at least one of width, height, area (pixels) and aspect "
                "(width / height), each as [smallest, largest]"
            )
        if self.rule != "ranges" and given:
            raise ValueError(
                f"rule: {self.rule} looks at no {', '.join(given)}; set rule to ranges, or leave "
                f"{'it' if len(given) == 1 else 'them'} out"
            )
        return self


class Duplicates(Section):
    exact: Literal["drop", "group", "off"]
    near: Literal["drop", "group", "off"]
    distance: Annotated[int, Field(ge=0, le=MOST_BITS_APART)]
    conflicting: Literal["drop", "off"]


class Filter(Section):
    size: SizeRule
    duplicates: Duplicates


class Shares(Section):
    train: Annotated[float, Field(gt=0, lt=1)]
    validation: Annotated[float, Field(gt=0, lt=1)]
    test: Annotated[float, Field(ge=0, lt=1)]

    @model_validator(mode="after")
    def _sum_to_one(self) -> Self:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the three shares must sum to 1, got {total:g}")
        return self


class Split(Section):
    shares: Shares
    seed: Seed


class Augment(Section):
    size: Pixels
    resize: Literal["lanczos", "bicubic", "bilinear", "box", "nearest"]
    flips: Annotated[list[Literal["none", "horizontal", "vertical", "both"]], Field(min_length=1)]
    warped: Annotated[int, Field(ge=0, le=100)]
    rotate: Degrees
    scale: Range
    shear: Slant
    shift: ShiftShares
    fill: Fill
    storage: Literal["raw", "jpeg"]
    seed: Seed

    @model_validator(mode="after")
    def _keeps_the_original(self) -> Self:
        if self.flips[0] != "none" or len(set(self.flips)) != len(self.flips):
            raise ValueError(
                f"flips must begin with 'none' (the original) and name each flip once, "
                f"got {self.flips}"
            )
        return self


class RandomCrop(Section):
    area: Range
    aspect: Range


class RandAugment(Section):
    n: Annotated[int, Field(ge=1, le=8)]
    strength: Share


class Erase(Section):
    share: Share
    area: Range
    aspect: Range


class Mixing(Section):
    mixup: Positive | None = None
    cutmix: Positive | None = None

    @model_validator(mode="after")
    def _names_a_way(self) -> Self:
        if self.mixup is None and self.cutmix is None:
            raise ValueError("mix needs mixup, cutmix or both, each with its alpha, such as 1.0")
        return self


class Step(Section):
    """One step of a policy: exactly one name with its settings."""

    flip: Literal["horizontal", "vertical", "both"] | None = None
    rotate: Degrees | None = None
    shear: Slant | None = None
    scale: Range | None = None
    zoom: Range | None = None
    shift: ShiftShares | None = None
    pad_crop: Share | None = None
    random_crop: RandomCrop | None = None
    channel_shift: Annotated[float, Field(ge=0, le=255)] | None = None
    channel_shuffle: Share | None = None
    brightness: FactorRange | None = None
    contrast: FactorRange | None = None
    saturation: FactorRange | None = None
    hue: Degrees | None = None
    greyscale: Share | None = None
    trivial_augment: Literal[True] | None = None
    rand_augment: RandAugment | None = None
    jpeg: (
        Annotated[list[Annotated[int, Field(ge=1, le=100)]], Field(min_length=2, max_length=2)]
        | None
    ) = None
    erase: Erase | None = None
    mix: Mixing | None = None

    @model_validator(mode="after")
    def _is_one_step(self) -> Self:
        named = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            raise ValueError(f"a step has exactly one name, got {', '.join(named) or 'none'}")
        return self


class Policy(Section):
    fill: Fill
    steps: list[Step]


def _launches(launcher: Any) -> Any:
    match launcher:
        case "auto" | "none":
            return launcher
        case {"torchrun": int(n), **others} if not (isinstance(n, bool) or n < 1 or others):
            return launcher
    raise ValueError(
        f"must be auto, none or {{torchrun: 2}} for so many processes, got {launcher!r}"
    )


class Train(Section):
    launcher: Annotated[Any, AfterValidator(_launches)]
    device: Literal["auto", "cpu", "cuda", "mps"]
    precision: Literal["auto", "fp32", "bf16"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    compile: bool


class Optimizer(Section):
    """What all optimizers take; their own keys are torch's arguments."""

    lr: Positive
    weight_decay: NotNegative | None = None
    decay_norms: bool | None = None
    lr_factors: dict[str, Positive] | None = None


class Adam(Optimizer):
    name: Literal["adam", "adamw"]
    betas: Annotated[list[Probability], Field(min_length=2, max_length=2)] | None = None
    eps: Positive | None = None
    amsgrad: bool | None = None


class RmsProp(Optimizer):
    name: Literal["rmsprop"]
    alpha: Probability | None = None
    eps: Positive | None = None
    momentum: Probability | None = None
    centered: bool | None = None


class Adadelta(Optimizer):
    name: Literal["adadelta"]
    rho: Probability | None = None
    eps: Positive | None = None


class Sgd(Optimizer):
    name: Literal["sgd"]
    momentum: Probability | None = None
    nesterov: bool | None = None

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: true needs a momentum above 0, such as 0.9")
        return self


class Constant(Section):
    name: Literal["constant"]


class Plateau(Section):
    name: Literal["plateau"]
    factor: Annotated[float, Field(gt=0, lt=1)]
    patience: Annotated[int, Field(ge=0)]


class Cyclical(Section):
    name: Literal["cyclical"]
    min_lr: Positive
    step_size: Count


class Cosine(Section):
    name: Literal["cosine"]
    warmup_epochs: NotNegative


# What torch takes for the limits of momentum where they are not given.
BASE_MOMENTUM, MAX_MOMENTUM = 0.85, 0.95


class OneCycle(Section):
    name: Literal["one_cycle"]
    pct_start: Annotated[float, Field(gt=0, lt=1)]
    div_factor: Positive
    final_div_factor: Positive
    base_momentum: Probability | None = None
    max_momentum: Probability | None = None
    anneal_strategy: Literal["cos", "linear"] | None = None
    three_phase: bool | None = None

    @model_validator(mode="after")
    def _momentum_has_a_range(self) -> Self:
        base = BASE_MOMENTUM if self.base_momentum is None else self.base_momentum
        highest = MAX_MOMENTUM if self.max_momentum is None else self.max_momentum
        if base > highest:
            raise ValueError(
                f"base_momentum ({base:g}) must not be above max_momentum ({highest:g}); they are "
                f"{BASE_MOMENTUM:g} and {MAX_MOMENTUM:g} where they are not given"
            )
        return self


class Stop(Section):
    metric: Literal["accuracy", "micro_f1", "loss"] | None = None
    patience: Count | None = None


class Phase(Section):
    epochs: Count
    trainable: Literal["all", "head"] | Annotated[list[str], Field(min_length=1)]
    optimizer: Annotated[Adam | RmsProp | Adadelta | Sgd, Field(discriminator="name")]
    schedule: Annotated[
        Constant | Plateau | Cyclical | Cosine | OneCycle, Field(discriminator="name")
    ]
    stop: Stop | None = None

    @model_validator(mode="after")
    def _schedule_suits_the_optimizer(self) -> Self:
        schedule, optimizer = self.schedule, self.optimizer
        if isinstance(schedule, Cyclical) and schedule.min_lr >= optimizer.lr:
            raise ValueError(
                f"schedule.min_lr must be below optimizer.lr ({optimizer.lr:g}), the highest "
                f"rate of the cycle; got {schedule.min_lr:g}"
            )
        if isinstance(schedule, Cosine) and schedule.warmup_epochs >= self.epochs:
            raise ValueError(
                f"schedule.warmup_epochs must be below epochs ({self.epochs}), or the rate would "
                f"never fall; got {schedule.warmup_epochs:g}"
            )
        cycled = isinstance(optimizer, Adam) or getattr(optimizer, "momentum", None)
        for key in ("base_momentum", "max_momentum"):
            if getattr(schedule, key, None) is not None and not cycled:
                raise ValueError(
                    f"schedule.{key} needs an optimizer with momentum; {optimizer.name} has "
                    f"none here: give it one, such as momentum: 0.9, or leave {key} out"
                )
        return self


class CrossEntropy(Section):
    name: Literal["cross_entropy"]
    label_smoothing: Probability | None = None


class ByClass(Section):
    name: Literal["binary_cross_entropy", "mean_squared_error"]


class Focal(Section):
    name: Literal["focal"]
    gamma: NotNegative


class Model(Section):
    network: str
    arguments: dict[str, Any]
    image_size: Pixels
    train_size: Pixels | None = None
    normalize: Literal["imagenet", "half", "none"]
    online: str
    batch_size: Annotated[int, Field(ge=2)]
    seed: Seed
    loss: Annotated[CrossEntropy | ByClass | Focal, Field(discriminator="name")]
    class_weights: Literal["none", "balanced"] | None = None
    sampler: Literal["shuffle", "balanced"] | None = None
    average: Annotated[float, Field(gt=0, lt=1)] | None = None
    clip: Positive | None = None
    accumulate: Count | None = None
    phases: Annotated[dict[Name, Phase], Field(min_length=1)]

    @field_validator("network")
    @classmethod
    def _is_there(cls, network: str) -> str:
        names = sorted(path.stem for path in NETWORKS.glob("[a-z]*.py"))
        if network not in names:
            raise ValueError(f"must be one of {', '.join(names)}, got '{network}'")
        return network

    @field_validator("arguments")
    @classmethod
    def _network_takes_them(cls, arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if "network" in info.data:  # else its own message says enough
            _arguments_of(info.data["network"]).model_validate(arguments)
        return arguments


class Stack(Section):
    members: Literal["all"] | Annotated[list[str], Field(min_length=1)]
    method: Literal["dense", "logistic", "weighted", "greedy", "mean"]
    folds: Annotated[int, Field(ge=0, le=MOST_FOLDS)]
    inner_folds: Annotated[int, Field(ge=2)]
    dense: "Dense"
    logistic: "Logistic"
    greedy: "Greedy"
    seed: Seed

    @field_validator("folds")
    @classmethod
    def _is_none_or_several(cls, folds: int) -> int:
        if folds == 1:
            raise ValueError(f"must be 0 (none) or from 2 to {MOST_FOLDS}, got 1")
        return folds


class Dense(Section):
    hidden: list[Annotated[int, Field(ge=1, le=65_536)]]
    dropout: Probability
    lr: Positive
    weight_decay: NotNegative
    epochs: Count
    patience: Count


class Logistic(Section):
    c: Positive


class Greedy(Section):
    rounds: Annotated[int, Field(ge=1, le=100_000)]


class Bootstrap(Section):
    resamples: Annotated[int, Field(ge=100, le=100_000)]
    seed: Seed


class TestTime(Section):
    flips: Literal["none", "horizontal", "both"]
    shift: Annotated[int, Field(ge=0)]


class Evaluate(Section):
    calibration_bins: Annotated[int, Field(ge=1, le=1000)]
    bootstrap: Bootstrap
    test_time: TestTime


class Pca(Section):
    size: Annotated[int, Field(ge=4, le=96)]


class Tsne(Section):
    classes: Count
    images_per_class: Annotated[int, Field(ge=2)]
    perplexities: Annotated[list[Positive], Field(min_length=1)]
    seed: Seed


class Explain(Section):
    model: str
    images: Annotated[int, Field(ge=1, le=64)]
    smooth_samples: Annotated[int, Field(ge=1, le=10_000)]
    smooth_noise: NotNegative
    integrated_steps: Annotated[int, Field(ge=1, le=10_000)]
    occluded_share: Annotated[float, Field(gt=0, lt=1)]
    layers: "Layers"
    seed: Seed


class Layers(Section):
    filters_of: Count
    activations_of: Annotated[list[Count], Field(min_length=1)]


class Params(Section):
    """The whole of `params.yaml`."""

    dataset: Dataset
    limit: Limit
    ingest: Ingest
    filter: Filter
    split: Split
    augment: Augment
    train: Train
    policies: dict[Name, Policy]
    models: Annotated[dict[ModelName, Model], Field(min_length=1)]
    stack: Stack
    evaluate: Evaluate
    pca: Pca
    tsne: Tsne
    explain: Explain

    @model_validator(mode="after")
    def _names_known_models(self) -> Self:
        listed = ", ".join(self.models)
        for name, model in self.models.items():
            if model.online not in self.policies:
                raise ValueError(
                    f"models.{name}.online must be one of the policies "
                    f"({', '.join(self.policies)}), got '{model.online}'"
                )
            if self.dataset.task == "multi" and model.loss.name == "cross_entropy":
                raise ValueError(
                    f"models.{name}.loss: with several labels an image (dataset.task: multi) it "
                    "must be binary_cross_entropy, mean_squared_error or focal; cross_entropy "
                    "takes classes to exclude one another"
                )
            for phase_name, phase in model.phases.items():
                if self.dataset.task == "single" and phase.stop and phase.stop.metric == "micro_f1":
                    raise ValueError(
                        f"models.{name}.phases.{phase_name}.stop.metric must be accuracy or loss "
                        "for one label an image (dataset.task: single), where micro F1 is accuracy"
                    )
        if self.explain.model not in self.models:
            raise ValueError(
                f"explain.model must be one of the listed models ({listed}), "
                f"got '{self.explain.model}'"
            )
        if self.evaluate.test_time.shift >= self.augment.size:
            raise ValueError(
                "evaluate.test_time.shift must be below augment.size "
                f"({self.augment.size} pixels), got {self.evaluate.test_time.shift}"
            )
        if self.stack.members != "all":
            if len(set(self.stack.members)) < len(self.stack.members):
                raise ValueError(
                    f"stack.members names a model twice: {', '.join(self.stack.members)}"
                )
            for member in self.stack.members:
                if member not in self.models:
                    raise ValueError(
                        f"stack.members must be 'all' or listed models ({listed}), got '{member}'"
                    )
        return self


def check_params(path: Path = PARAMS_FILE, schema: type[Section] = Params) -> dict[str, Any]:
    """Read the whole file and check it against the schema.

    Args:
        path: of the file.
        schema: that of the pipeline, or a study's own.

    Returns:
        The file's content, as it stands there.

    Raises:
        UserError: if the file cannot be read or breaks a rule; all broken rules are named,
            each with the path of its key.
    """
    content = read_mapping(path)
    check_content(schema, content, path=path)
    return content


def check_content(schema: type[Section], content: Mapping[str, Any], *, path: Path) -> None:
    """Check what a file holds.

    Args:
        schema: that it must obey.
        content: of the file.
        path: of the file, for the message.

    Raises:
        UserError: if a rule is broken; all broken rules are named.
    """
    if lines := broken_rules(schema, content):
        raise UserError(
            f"{path} breaks {len(lines)} rule{'s' * (len(lines) > 1)}; correct it and run "
            "again:\n" + "\n".join(f"  {line}" for line in lines)
        )


def broken_rules(schema: type[BaseModel], content: Any) -> list[str]:
    """Name the rules of `schema` that `content` breaks, each as `key.path: what is wrong`."""
    try:
        schema.model_validate(content)
    except ValidationError as error:
        lines = (_line(problem, content) for problem in _problems(error))
        return [one_line(line, most=MOST_LETTERS_TOLD) for line in lines]
    return []


def read_params(*keys: str, path: Path = PARAMS_FILE) -> Any:
    """Read the values at `keys` (dotted paths): one value, or a tuple for several keys.

    A stage reads exactly the keys that it declares in `dvc.yaml`; a test compares them.
    """
    content = read_mapping(path)
    values = []
    for key in keys:
        value: Any = content
        for name in key.split("."):
            if not isinstance(value, Mapping) or name not in value:
                raise UserError(f"{path} has no '{key}'; add it, or correct the name")
            value = value[name]
        values.append(value)
    return values[0] if len(values) == 1 else tuple(values)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of sections, which nothing is checked of yet.

    Raises:
        UserError: if the file cannot be read, is no YAML, or holds something else.
    """
    if not path.is_file():
        raise UserError(f"there is no {path} here; run from the folder that holds it")
    with path.open("rb") as file:
        encoded = file.read(MOST_BYTES + 1)
    if len(encoded) > MOST_BYTES:
        raise UserError(
            f"{path} is larger than {MOST_BYTES:,} bytes, the most that is read; is it a file of "
            "params?"
        )
    try:
        text = encoded.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path} is no valid YAML: byte {error.start + 1:,} is not of UTF-8; save it as UTF-8"
        ) from None
    content = parse_yaml(text, where=str(path))
    if not isinstance(content, dict):
        got = one_line(repr(content), most=MOST_LETTERS_TOLD)
        raise UserError(f"{path} must hold sections such as 'dataset:', got {got}")
    return content


def parse_yaml(text: str, *, where: str) -> Any:
    """Parse YAML 1.2 as DVC does: 5e-4 is a number, off is a word, no key may stand twice.

    Nothing but text, numbers, lists, mappings and the like is made, and of aliases (`*name`)
    no more than fits into memory.

    Args:
        text: of the file.
        where: what to call it in the message.

    Raises:
        UserError: if it is no YAML, or was made to take time or memory.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(text)
    except RecursionError:
        reason = "its lists and mappings stand too deep in one another"
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = place + ", ".join(filter(None, (error.context, error.problem)))
    except Exception as error:  # odd dates, numbers and directives lead the reader to anything
        reason = str(error) or type(error).__name__
    told = one_line(reason, most=MOST_LETTERS_TOLD)
    raise UserError(f"{where} is no valid YAML: {told}; correct it") from None


class _Constructor(SafeConstructor):
    """Makes plain values, once it is known that they are not too many."""

    def construct_document(self, node: Node) -> Any:
        if _written_out(node, {}) > MOST_LETTERS_WRITTEN_OUT:
            raise ConstructorError(
                None,
                None,
                "its aliases (*name) stand for too much, or for what holds themselves; write "
                "out what they name",
                node.start_mark,
            )
        return super().construct_document(node)


def _written_out(node: Node, known: dict[Node, float]) -> float:
    """How many letters a document has without aliases; endless if one names what holds it."""
    if isinstance(node, ScalarNode):
        if str(node.tag).endswith(":int") and len(node.value) > MOST_DIGITS:
            raise ConstructorError(
                None, None, f"a number of {len(node.value):,} digits", node.start_mark
            )
        return len(node.value) + 1
    if node not in known:
        known[node] = math.inf  # until it is counted
        inside: list[Node] = []
        if isinstance(node, SequenceNode):
            inside = node.value
        elif isinstance(node, MappingNode):
            inside = [part for pair in node.value for part in pair]
        known[node] = 1 + sum(_written_out(part, known) for part in inside)
    return known[node]


def _problems(error: ValidationError) -> Iterator[Any]:
    """All problems, those of a schema within the schema by their whole paths."""
    for problem in error.errors():
        inner = problem.get("ctx", {}).get("error")
        if isinstance(inner, ValidationError):
            for each in _problems(inner):
                yield {**each, "loc": (*problem["loc"], *each["loc"])}
        else:
            yield problem


def _line(problem: Any, content: Any) -> str:
    """One broken rule as `key.path: what is wrong`."""
    steps = []
    place = content
    for step in problem["loc"]:
        # The schema's choices (Adam or SGD) are steps too, but no keys of the file.
        in_mapping = isinstance(place, Mapping) and step in place
        in_list = isinstance(place, list) and isinstance(step, int) and step < len(place)
        if in_mapping or in_list:
            place = place[step]
        elif problem["type"] != "missing" or step != problem["loc"][-1]:
            continue
        steps.append(str(step))
    name = ".".join(steps)
    if not name and problem["type"] == "value_error":  # a rule between sections names its keys
        return str(problem["ctx"]["error"])
    name = name or "the whole file"

    match problem["type"]:
        case "missing":
            return f"{name}: is missing; add it"
        case "unknown_key":
            return f"{name}: {problem['msg']}"
        case "value_error":
            return f"{name}: {problem['ctx']['error']}"
        case "union_tag_not_found":
            return f"{name}: is missing its 'name'"
        case "union_tag_invalid":
            return (
                f"{name}.name: must be one of {problem['ctx']['expected_tags']}, "
                f"got '{problem['ctx']['tag']}'"
            )
    rule = re.sub(r"^Input should be", "must be", problem["msg"])
    rule = rule.replace("a valid dictionary", "a mapping").replace("a valid integer", "an integer")
    rule = rule.replace("a valid ", "a ")
    return f"{name}: {rule}, got {problem['input']!r}"


@cache
def _arguments_of(network: str) -> type[Section]:
    """The keyword arguments of a network's `build` as a schema.

    Its file is parsed, not imported: importing torch would cost every stage two seconds.
    """
    file = NETWORKS / f"{network}.py"
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == "build":
            fields: dict[str, Any] = {
                argument.arg: (_type_of(argument), ... if default is None else None)
                for argument, default in zip(
                    node.args.kwonlyargs, node.args.kw_defaults, strict=True
                )
                if argument.arg != "image_size"  # which the pipeline gives
            }
            return create_model(network, __base__=Section, **fields)
    raise ValueError(f"{file.name} has no function build(n_classes, *, image_size, …)")


def _type_of(argument: ast.arg) -> Any:
    return ARGUMENT_TYPES.get(ast.unparse(argument.annotation), Any) if argument.annotation else Any


if __name__ == "__main__":  # what dvc.yaml runs before a command that names a model
    try:
        check_params()
    except (UserError, OSError) as problem:
        sys.exit(plain_text(str(problem)))
