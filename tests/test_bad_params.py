"""Every invalid params file ends as one message with the path of its key, without delay."""

import copy
import datetime
import functools
import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from classifold.errors import UserError
from classifold.gan.params import GanParams
from classifold.params.reader import MAX_MESSAGE_CHARACTERS, parse_yaml, read_mapping
from classifold.params.schema.arguments import ARGUMENT_TYPES, NETWORKS, arguments_schema
from classifold.params.schema.params import Params
from classifold.params.validation import check_params, validation_errors
from classifold.plain_text import plain_text
from classifold.search.search_file import Search
from command_line import classifold, output_of

ROOT = Path(__file__).parents[1]
SCHEMAS = {
    ROOT / "params.yaml": Params,
    ROOT / "studies/gan/params.yaml": GanParams,
    **dict.fromkeys(sorted((ROOT / "studies/search/searches").glob("*.yaml")), Search),
    **dict.fromkeys(sorted((ROOT / "recipes").glob("*.yaml")), Params),
}
content_of = functools.cache(read_mapping)

# Mappings whose keys are free; and values of a search, which are validated as params once set.
FREE = {"policies", "models", "phases", "lr_factors", "fixed", "space"}
ANYTHING = {"fixed", "choices"}


def paths_in(content, path=()):
    """The path of every value in a content, of sections and lists too."""
    if path:
        yield path
    if isinstance(content, dict | list):
        for name, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from paths_in(value, (*path, name))


def value_at(content, path):
    for step in path:
        content = content[step]
    return content


def changed(content, path, value):
    """A copy with another value at a path; as deep as the path, and no deeper."""
    if not path:
        return value
    content = copy.copy(content)
    content[path[0]] = changed(content[path[0]], path[1:], value)
    return content


def are_named(lines, path):
    """Whether a line names every step of a path, or of its beginning and then the last."""
    return any(all(str(step) in line for step in path) for line in lines)


def is_free(path):
    return bool(ANYTHING & set(map(str, path)))


of_each_file = pytest.mark.parametrize(
    "path",
    [path for path in SCHEMAS if path.parent.name != "recipes"],
    ids=lambda path: path.relative_to(ROOT).as_posix(),
)


@of_each_file
def test_values_of_other_types_are_errors_everywhere(path):
    content, schema = content_of(path), SCHEMAS[path]
    assert validation_errors(schema, content) == []
    for place in paths_in(content):
        before = value_at(content, place)
        wrong = [{"surprise": 1}, [{"surprise": [1]}], datetime.date(2020, 1, 1), b"bytes"]
        if isinstance(before, int | float) and not isinstance(before, bool):
            wrong += [math.nan, math.inf, -math.inf, "1", True]
        if not is_free(place):
            for value in wrong:
                lines = validation_errors(schema, changed(content, place, value))
                assert are_named(lines, place), (place, value, lines)


@of_each_file
def test_unknown_keys_are_errors_in_every_section(path):
    content, schema = content_of(path), SCHEMAS[path]
    sections = [
        place for place in [(), *paths_in(content)] if isinstance(value_at(content, place), dict)
    ]
    for place in sections:
        if is_free(place) or (place and place[-1] in FREE):
            continue
        surprising = value_at(content, place) | {"surprise": None}
        lines = validation_errors(schema, changed(content, place, surprising))
        name = ".".join(map(str, (*place, "surprise")))
        assert any(line.startswith(f"{name}: unknown key. ") for line in lines)


@of_each_file
def test_missing_keys_are_errors_or_optional(path):
    content, schema = content_of(path), SCHEMAS[path]
    for place in paths_in(content):
        *parents, key = place
        section = value_at(content, parents)
        if not isinstance(section, dict):
            continue
        rest = {name: value for name, value in section.items() if name != key}
        lines = validation_errors(schema, changed(content, tuple(parents), rest))
        if not lines:
            continue  # an optional key, or one of several names
        assert are_named(lines, parents) or "models" in place, (place, lines)
        name = ".".join(map(str, place))
        if len(parents) < 2 and not FREE & set(parents):
            assert f"{name}: missing. Add it" in lines, (place, lines)


WRONG = st.one_of(
    st.none(),
    st.booleans(),
    st.floats(),
    st.integers(),
    st.sampled_from([10**30, -(10**30), 2**31, 2**32, 2**63, 0, -1, 1e308, 5e-324]),
    st.text(max_size=8),
    st.sampled_from(["x" * 5000, "\x1b[31m", "\u202e", "a\nb", "$(reboot)", "../..", "\0", "nan"]),
    st.sampled_from([[], {}, [[]], [None], {"": None}, {None: 1}, {1: 2}, [math.nan, math.nan]]),
    st.recursive(st.none(), lambda inside: st.lists(inside, max_size=2), max_leaves=9),
    st.binary(max_size=3),
    st.dates(),
)


@given(st.sampled_from(list(SCHEMAS)), st.data())
def test_any_value_is_valid_or_an_error_that_is_safe_to_print(path, data):
    content = content_of(path)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(paths_in(content_of(path)))))
        try:
            content = changed(content, place, data.draw(WRONG))
        except (TypeError, LookupError):  # the place is gone by an earlier change
            continue
    for line in validation_errors(SCHEMAS[path], content):
        assert plain_text(line) == line and "\n" not in line
        assert len(line) <= MAX_MESSAGE_CHARACTERS
        assert line.startswith(("the whole file: ", *map(str, content_of(path)))), line


def test_a_long_message_is_shortened_in_the_middle():
    (line,) = validation_errors(Params, PARAMS | {"x" * 5000: 1})
    assert len(line) == MAX_MESSAGE_CHARACTERS and "xx … xx" in line


@given(st.text(max_size=30))
def test_any_text_is_yaml_or_one_message(text):
    try:
        parse_yaml(text, where="params.yaml")
    except UserError as error:
        assert str(error).startswith("params.yaml: not valid YAML: ")
        assert plain_text(str(error)) == str(error)


def billion_laughs(levels, *, merge=False):
    """Aliases of ten aliases each: 10 ** levels of the first one."""
    lines = ["a0: &a0 {x: 1}"]
    for level in range(1, levels + 1):
        many = ", ".join([f"*a{level - 1}"] * 10)
        inside = f"{{<<: [{many}]}}" if merge else f"[{many}]"
        lines.append(f"a{level}: &a{level} {inside}")
    return "\n".join(lines)


TOO_MANY = "aliases (*name) expand to too many values"
NO_TAG = "could not determine a constructor for the tag"
ODD = {
    "aliases of aliases": (billion_laughs(20), TOO_MANY),
    "merges of merges": (billion_laughs(20, merge=True), TOO_MANY),
    "a long text many times": (f"a: &a {'x' * 50_000}\nb: [{'*a, ' * 100}]", TOO_MANY),
    "what holds itself": ("a: &a [*a]", TOO_MANY),
    "a mapping that holds itself": ("a: &a {b: *a}", TOO_MANY),
    "deep lists": ("a: " + "[" * 200_000, "nested too deeply"),
    "deep mappings": ("{a: " * 20_000, "nested too deeply"),
    "a list in some hundred lists": ("a: " + "[" * 700 + "]" * 700, "nested too deeply"),
    "deep blocks": ("- " * 20_000, "nested too deeply"),
    "a number without end": ("a: " + "9" * 100_000, "a number of 100,000 digits"),
    "a hexadecimal number": ("a: 0x" + "f" * 100_000, "a number of 100,002 digits"),
    "a day that is none": ("a: 2024-13-45", "month must be in 1..12"),
    "a Python object": ("a: !!python/object/apply:os.system [id]", NO_TAG),
    "a Python name": ("a: !!python/name:os.system", NO_TAG),
    "a tag of one's own": ("a: !reboot now", NO_TAG),
    "an alias of nothing": ("a: *nothing", "undefined alias"),
    "a tab": ("a:\n\tb: 1", "cannot start any token"),
    "a key twice": ("a: 1\na: 2", "line 2, column 1: a: written twice"),
    "two documents": ("a: 1\n---\nb: 2", "expected a single document"),
    "half a list": ("a: [1", "expected ',' or ']'"),
    "a control character": ("a: \x07", "special characters are not allowed"),
    "another YAML": ("%YAML 7.1\n---\na: 1", "found incompatible YAML document"),
    "bytes that are none": ("a: !!binary ä", "failed to convert base64"),
}


@pytest.mark.parametrize("oddity", ODD)
@pytest.mark.promise("no-imports", "limit-params", "check-params")
def test_odd_yaml_is_one_message_without_delay(tmp_path, oddity):
    text, message = ODD[oddity]
    path = tmp_path / "params.yaml"
    path.write_text(text, encoding="utf-8")
    start = time.process_time()
    with pytest.raises(UserError, match="not valid YAML: ") as caught:
        check_params(path)
    assert time.process_time() - start < 20
    text = str(caught.value)
    assert message in text
    assert text.isprintable()
    assert len(text) < MAX_MESSAGE_CHARACTERS + 300


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        pytest.param(b"a: \xff", "byte 4 is not UTF-8. Save it as UTF-8", id="latin 1"),
        pytest.param("a: ü".encode("utf-16"), "byte 1 is not UTF-8", id="UTF-16"),
        pytest.param(b"#" * (2**18 + 1), "must have at most 262,144 bytes", id="huge"),
        pytest.param(b"", "must have sections such as 'dataset:', got None", id="empty"),
        pytest.param(b"[1, 2]", "must have sections such as 'dataset:', got [1, 2]", id="list"),
        pytest.param(b"a\x00b: 1", "special characters are not allowed", id="null byte"),
        pytest.param(b"? [1, 2]\n: 2", "(1, 2): unknown key", id="a list for a key"),
        pytest.param(b"? {a: 1}\n: 2", "unhashable", id="a mapping for a key"),
        pytest.param(b"1: 2\nnull: 3", "1: unknown key", id="keys that are no names"),
    ],
)
@pytest.mark.promise("limit-params")
def test_a_file_without_params_is_one_message(tmp_path, encoded, message):
    path = tmp_path / "params.yaml"
    path.write_bytes(encoded)
    with pytest.raises(UserError) as caught:
        check_params(path)
    assert message in str(caught.value)


def test_a_byte_order_mark_aliases_and_merges_are_allowed(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text("a: &a {x: 1}\nb: {<<: *a, y: 2}\nc: *a", encoding="utf-8-sig")
    assert read_mapping(path) == {"a": {"x": 1}, "b": {"x": 1, "y": 2}, "c": {"x": 1}}


def test_the_arguments_of_every_network_are_checked():
    for file in NETWORKS.glob("[a-z]*.py"):
        for name, field in arguments_schema(file.stem).model_fields.items():
            assert field.annotation in ARGUMENT_TYPES.values(), (file.stem, name)


@pytest.fixture
def check(tmp_path, monkeypatch):
    """`classifold check` on params with one value changed."""
    for name in ("a", "b"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "1.png").touch()
    monkeypatch.chdir(tmp_path)

    def run(key, value):
        content = changed(content_of(ROOT / "params.yaml"), ("dataset", "path"), "data")
        content = changed(content, ("train", "device"), "cpu")
        with Path("params.yaml").open("w", encoding="utf-8") as file:
            YAML(typ="safe", pure=True).dump(changed(content, tuple(key.split(".")), value), file)
        return classifold("check")

    return run


def test_valid_params_are_reported_as_valid(check):
    message = "params.yaml is valid: dataset data, models alphanet_a, initial_cnn, mlp"
    assert message in output_of(check("models.mlp.seed", 2))


PARAMS = content_of(ROOT / "params.yaml")
PHASE = "models.mlp.phases.p1"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("models.mlp.arguments.hidden", "255", "models.mlp.arguments.hidden: must be a list, got"),
        ("models.mlp.arguments.hidden", [True], "models.mlp.arguments.hidden.0: must be an int"),
        ("models.mlp.arguments.hidden", [-1], "models.mlp.network: mlp cannot be built for"),
        ("models.small_resnet.arguments.widths", [], "models.small_resnet.network: small_resnet"),
        ("models.small_resnet.arguments.stem_stride", 0, "models.small_resnet.network:"),
        ("augment.size", 8, "models.initial_cnn.network: initial_cnn cannot be built for"),
        (
            f"{PHASE}.trainable",
            ["x"],
            f"{PHASE}.trainable: must name layers of the network, got 'x'",
        ),
        (
            f"{PHASE}.optimizer",
            {"name": "adam", "lr": 0.1, "lr_factors": {"hed": 2}},
            f"{PHASE}.optimizer.lr_factors: must name layers of the network, got 'hed'",
        ),
        (
            "models.mlp",
            PARAMS["models"]["mlp"] | {"train_size": 8},
            "models.mlp.train_size: the network mlp accepts only images of its image_size, got 8",
        ),
        ("dataset.path", "nowhere", "dataset.path: nowhere does not exist"),
        ("dataset.path", "x" * 5000, "dataset.path: cannot be a path (File name"),
        ("dataset.path", "a\0b", "dataset.path: a\\x00b does not exist"),
        (
            "filter.size",
            PARAMS["filter"]["size"] | {"width": [1, 2]},
            "filter.size.width: not used by rule none",
        ),
        ("stack.members", ["mlp", "mlp"], "stack.members: must name each model once, got"),
        ("split.seed", 2**40, "split.seed: must be < 4294967296, got 1099511627776"),
    ],
)
@pytest.mark.promise("check-params")
def test_errors_of_stages_are_found_before_any_starts(check, key, value, message):
    done = check(key, value)
    assert done.exit_code == 1 and message in done.stderr
    assert "Traceback" not in done.output and isinstance(done.exception, SystemExit)


def test_a_network_of_any_size_is_checked_without_its_memory(check):
    output_of(check("models.mlp.arguments.hidden", [10**7, 10**7]))  # 400 TB
