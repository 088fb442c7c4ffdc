"""The architecture: what dvc.yaml declares is what the code does."""

import ast
import os
import re
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.params.validation import check_params
from classifold.runtime.source_code import code_behind, file_of, imports
from study_stages import read_study

ROOT = Path(__file__).parents[1]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
SRC = ROOT / "src/classifold"
SEARCH = read_study("search")["search"]
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE["stages"].items()}
STUDIES = {
    f"{file.parent.name}:{name}": stage.get("do", stage)
    for file in sorted((ROOT / "studies").glob("*/dvc.yaml"))
    for name, stage in read_study(file.parent.name).items()
}
SOURCES = sorted((ROOT / "src/classifold").rglob("*.py"))
SCRIPTS = [
    *sorted((ROOT / "stages").glob("*.py")),
    *sorted((ROOT / "studies").glob("*/*.py")),
]

ARCHITECTURE = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")


def read_layers() -> list[list[str]]:
    """Read the tree of packages in ARCHITECTURE.md, from the top down."""
    (tree,) = re.findall(r"^src/classifold/\n((?:    .+\n)+)", ARCHITECTURE, flags=re.MULTILINE)
    columns = [re.split(r"\s{2,}", line.strip()) for line in tree.splitlines()]
    return [re.findall(r"(\w+)(?:/|\.py)", names) for names, _ in columns]


# A package imports only from lines below its own, and from packages further right on its own line.
LAYERS = read_layers()
PLACES = {name: (-line, i) for line, names in enumerate(LAYERS) for i, name in enumerate(names)}
MAX_LINES_OF_CODE = 8  # of each stage's dependencies in dvc.yaml


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def declared_code(stage: dict) -> list[Path]:
    """Scripts, modules and folders of code that a stage declares; not its network by name."""
    return [
        ROOT / dep
        for dep in stage["deps"]
        if dep.startswith(("stages/", "studies/", "src/")) and not re.search(r"[$]|/made/", dep)
    ]


def is_declared(file: Path, stage: dict) -> bool:
    return any(file.is_relative_to(dep) for dep in declared_code(stage))


def is_needed(dep: Path, code: set[Path]) -> bool:
    """Whether code lies at `dep`; networks are loaded by name, by models/model_file.py."""
    if dep.name == "networks":
        return any(file.name == "model_file.py" for file in code)
    return dep.suffix == ".yaml" or any(file.is_relative_to(dep) for file in code)


def script_of(stage: dict) -> Path:
    (script,) = {
        dep for dep in declared_code(stage) if dep.suffix == ".py" and "src" not in dep.parts
    }
    return script


def package_of(module: str) -> str:
    return module.split(".")[1]


def params_read(stage: str) -> set[str]:
    """The keys that a stage script reads, names in f-strings as dvc.yaml writes them."""
    keys: set[str] = set()
    for node in ast.walk(parse(ROOT / f"stages/{stage}.py")):
        match node:
            case ast.Call(func=ast.Name(id="read_params"), args=arguments):
                keys |= {_key(argument) for argument in arguments}
            case ast.Call(func=ast.Name(id="check_params")):
                keys.add("params.yaml")
    return keys


IN_DVC_YAML = {"name": "${key}", "model['online']": "${item.online}"}


def _key(node: ast.expr) -> str:
    if isinstance(node, ast.JoinedStr):
        parts = [
            p.value if isinstance(p, ast.Constant) else IN_DVC_YAML[ast.unparse(p.value)]
            for p in node.values
        ]
        return "".join(parts)
    return ast.literal_eval(node)


def declared_params(stage: str) -> set[str]:
    declared = STAGES[stage].get("params", [])
    return {next(iter(entry)) if isinstance(entry, dict) else entry for entry in declared}


def test_every_stage_has_a_script_and_every_script_a_stage():
    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == set(STAGES)


WITH_SCRIPTS = STAGES | {name: stage for name, stage in STUDIES.items() if name != "search:search"}


@pytest.mark.parametrize("stage", WITH_SCRIPTS.values(), ids=WITH_SCRIPTS)
def test_stage_declares_all_the_code_it_runs_and_no_other(stage):
    code = code_behind(script_of(stage))
    assert not [file for file in code if not is_declared(file, stage)]
    assert not [dep for dep in declared_code(stage) if not is_needed(dep, code)]


def test_searches_declare_the_code_that_they_run_and_no_other():
    stage = STUDIES["search:search"]
    files = [SRC / "reporting/search_page.py", *(SRC / "search").glob("[a-z]*.py")]
    code = set().union(*map(code_behind, files))
    code.discard(SRC / "plain_text.py")  # of the page, which is no cached output
    assert not [file for file in code if not is_declared(file, stage)]
    assert not [dep for dep in declared_code(stage) if not is_needed(dep, code)]


def test_dependencies_on_code_are_few():
    for name, stage in STAGES.items():
        code = [dep for dep in stage["deps"] if dep.startswith(("stages/", "src/"))]
        assert len(code) <= MAX_LINES_OF_CODE, name


def test_every_search_file_is_a_stage_that_the_main_pipeline_does_not_run():
    files = {path.stem for path in (ROOT / "studies/search/searches").glob("*.yaml")}
    assert set(SEARCH["foreach"]) == files
    assert "search" not in STAGES
    assert not any("studies" in dep for stage in STAGES.values() for dep in stage["deps"])


@pytest.mark.promise("test-not-fitted")
def test_searches_never_see_test_images():
    assert not [dep for dep in SEARCH["do"]["deps"] if dep.startswith("data/split")]
    assert SEARCH["do"]["deps"][0] == "data/augmented"  # training and validation images


@pytest.mark.parametrize(
    "stage", ["train", "folds", "evaluate", "tsne", "novelty", "robustness", "explain"]
)
def test_stage_that_builds_networks_declares_them(stage):
    networks = [d for d in STAGES[stage]["deps"] if d.startswith("src/classifold/networks")]
    expected = "/${item.network}.py" if stage in {"train", "folds"} else ""
    assert networks == [f"src/classifold/networks{expected}"]


@pytest.mark.promise("affected-stages")
def test_stages_declare_exactly_the_params_they_read():
    assert {s: params_read(s) for s in STAGES} == {s: declared_params(s) for s in STAGES}


@pytest.mark.promise("stages")
def test_the_readme_lists_the_stages():
    (sentence,) = re.findall(r"^DVC runs the stages:[^.]+", (ROOT / "README.md").read_text(), re.M)
    assert set(re.findall(r"`(\w+)`", sentence)) == STAGES.keys()


@pytest.mark.promise("only-names", "checked-before")
def test_the_name_of_a_model_is_the_only_one_in_a_command_and_is_checked_before():
    for stage in STAGES.values():
        first, *others = [stage["cmd"]] if isinstance(stage["cmd"], str) else stage["cmd"]
        assert "$" not in first
        assert re.findall(r"\$[^ ]*", " ".join(others)) in ([], ["${key}"])
        assert not others or first.split("#")[0].strip() == "python -m classifold.params"
    lists = {stage["foreach"] for stage in PIPELINE["stages"].values() if "foreach" in stage}
    assert lists == {"${models}"}


def test_every_stage_has_a_description():
    assert not [name for name, stage in STAGES.items() if not stage["desc"].endswith(".")]


@pytest.mark.promise("test-not-fitted", "only-evaluate")
def test_only_evaluate_sees_the_test_images():
    readers = [
        name
        for name, stage in STAGES.items()
        if {"data/split/test.csv", "data/split"} & set(stage["deps"])
    ]
    assert readers == ["evaluate"]


@pytest.mark.promise("test-not-fitted")
def test_nothing_that_is_fitted_depends_on_an_evaluation():
    readers = [
        name for name, stage in STAGES.items() if any("evaluated" in dep for dep in stage["deps"])
    ]
    assert set(readers) <= {"robustness", "explain", "report"}


@pytest.mark.promise("test-not-fitted")
def test_an_evaluation_applies_decisions_and_imports_nothing_that_fits():
    code = code_behind(ROOT / "stages/evaluate.py")
    files = [file for file in code if file.parent.name in {"stages", "evaluation"}]
    names = [
        alias.name
        for file in files
        for node in ast.walk(parse(file))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert "ensemble_logits" in names
    assert not [name for name in names if name.startswith(("fit", "cross_fit"))]


def test_the_tree_of_the_page_holds_every_package_once():
    packages = [path.stem for path in SRC.glob("[!_]*") if path.is_dir() or path.suffix == ".py"]
    assert sorted(name for names in LAYERS for name in names) == sorted(packages)


def test_the_page_names_the_packages_of_every_stage():
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\|([^|]+)\|[^|]+\|$", ARCHITECTURE, flags=re.MULTILINE)
    on_page = {stage: set(re.findall(r"`(\w+)`", packages)) for stage, packages in rows}
    declared = {
        name: {dep.relative_to(SRC).parts[0].removesuffix(".py") for dep in code} - {"params"}
        for name, stage in STAGES.items()
        if (code := [ROOT / dep for dep in stage["deps"] if dep.startswith("src/")])
    }
    assert on_page == declared


def test_imports_point_one_way():
    wrong = []
    for file in SOURCES:
        here = package_of(".".join(file.relative_to(ROOT / "src").with_suffix("").parts))
        if here not in {"__init__", "__main__"}:
            others = {package_of(module) for module in imports(file)} - {here}
            wrong += [f"{file}: {there}" for there in others if not _may_import(here, there)]
    assert not wrong


def _may_import(here: str, there: str) -> bool:
    (line, i), (other_line, other_i) = PLACES[here], PLACES[there]
    return other_line < line or (other_line == line and other_i > i)


# Importing one, or reading one of the signals that Windows lacks, fails there.
OF_UNIX = {
    *("crypt", "curses", "fcntl", "grp", "nis", "posix", "pty", "pwd", "readline", "resource"),
    *("spwd", "syslog", "termios", "tty"),
}
SIGNALS_OF_UNIX = {"SIGKILL", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD"}


def test_nothing_needs_unix_at_the_top_of_a_module():
    files = {file: run_by_an_import(parse(file)) for file in SOURCES + SCRIPTS}
    of_unix = {str(file): names & (OF_UNIX | SIGNALS_OF_UNIX) for file, names in files.items()}
    assert not {file: names for file, names in of_unix.items() if names}


def run_by_an_import(module: ast.Module) -> set[str]:
    """Names of the modules and attributes that an import of this module reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [module]
    while waiting:
        node = waiting.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                waiting += [*node.decorator_list, node.args]  # the body runs later
                continue
            case ast.Lambda():
                continue
            case ast.Import(names):
                found |= {alias.name.partition(".")[0] for alias in names}
            case ast.ImportFrom(names=names):
                found |= {(node.module or "").partition(".")[0], *(alias.name for alias in names)}
            case ast.Attribute(attr=name):
                found.add(name)
        waiting += ast.iter_child_nodes(node)
    return found


def test_what_an_import_runs_by_hand():
    text = "import a.b\nclass C:\n    x = d.e\n    def f(self, y=g.h):\n        import i\n"
    assert run_by_an_import(ast.parse(text)) == {"a", "e", "h"}


def test_no_two_modules_import_each_other():
    graph = {file: {file_of(module) for module in imports(file)} for file in SOURCES}
    TopologicalSorter(graph).prepare()  # raises CycleError


@pytest.mark.promise("no-imports")
def test_only_networks_are_loaded_by_name():
    by_name = {
        ast.unparse(node.args[0])
        for file in SOURCES
        for node in ast.walk(parse(file))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    }
    ours = {name for name in by_name if "classifold" in name}
    assert ours == {"'classifold.runtime.ray_cluster'", "f'classifold.networks.{network}'"}


def test_networks_import_no_sibling_and_nothing_about_training():
    for file in (ROOT / "src/classifold/networks").glob("*.py"):
        assert set(imports(file)) <= {
            "classifold.data.seeding",
            "classifold.errors",
            "classifold.models.filling",
            "classifold.models.fisher_encoder",
            "classifold.models.fitted_head",
            "classifold.models.local_descriptors",
            "classifold.models.publishers",
            "classifold.models.timm_body",
            "classifold.models.weights",
        }


@pytest.mark.parametrize("module", ["serving.predict", "training.try_model", "reporting.page"])
@pytest.mark.slow
def test_what_trains_nothing_imports_no_library_for_training(module):
    slow = {"sklearn", "torchvision", "lightning_fabric", "torch._dynamo", "pandas", "optuna"}
    code = f"import sys, classifold.{module}; print({slow} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert loaded.stdout.strip() == b"set()"


def test_init_files_of_packages_are_empty():
    files = [file for file in SOURCES if file.name == "__init__.py" and file.parent != SRC]
    assert len(files) > 10
    assert not [file for file in files if file.read_text()]


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ({}, {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7"}),
    ],
)
def test_idle_threads_soon_wait_passively_unless_the_environment_differs(given, used):
    names = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    environment = {name: os.environ[name] for name in os.environ.keys() - names} | given
    code = f"import classifold, os; print({{n: v for n, v in os.environ.items() if n in {names}}})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=True, capture_output=True, env=environment)
    assert ast.literal_eval(done.stdout.decode()) == used


def test_no_stage_imports_torch_before_the_package_sets_the_environment():
    for stage in WITH_SCRIPTS.values():
        script = script_of(stage)
        names = [
            node.module if isinstance(node, ast.ImportFrom) else node.names[0].name
            for node in parse(script).body
            if isinstance(node, ast.Import | ast.ImportFrom)
        ]
        assert "torch" not in [name.split(".")[0] for name in names], script


@pytest.mark.promise("no-pickle", "torch-weights")
def test_no_pickle_is_loaded():
    refused = (
        *("pickle.load", "Unpickler(", "allow_pickle=True"),
        *("joblib.load(", "read_pickle"),
    )
    for file in [*SOURCES, *SCRIPTS]:
        text = file.read_text()
        assert not [word for word in refused if word in text], file
        loads = [node for node in ast.walk(parse(file)) if _calls_torch_load(node)]
        assert not loads or file.name == "weights_file.py", file
        for call in loads:
            assert "weights_only=True" in ast.unparse(call), file


def _calls_torch_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"


@pytest.mark.promise("onnx")
def test_onnx_is_read_only_where_it_was_written():
    reads = re.compile(r"InferenceSession\(|onnx\.(load|parser)|onnxruntime\.Model")
    readers = [file for file in [*SOURCES, *SCRIPTS] if reads.search(file.read_text())]
    assert readers == [SRC / "serving/export.py"]


@pytest.mark.parametrize(
    "file",
    [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))],
    ids=lambda file: file.stem,
)
def test_params_and_recipes_are_valid(file):
    assert set(check_params(file)) == set(check_params(ROOT / "params.yaml"))


def test_outputs_of_studies_are_neither_cached_nor_metrics():
    studies = {name.split(":")[0] for name in STUDIES}
    assert studies == {"gan", "leakage", "learning_curve", "search"}
    for stage in STUDIES.values():
        assert not stage.keys() & {"metrics", "plots"}
        for out in stage["outs"]:
            ((_, settings),) = out.items()
            assert settings == {"cache": False}


def test_studies_ignore_the_files_that_the_pipeline_ignores():
    ignored = set((ROOT / "studies/.dvcignore").read_text().splitlines())
    assert {"__pycache__/", ".gitignore", "*.partial"} <= ignored
    assert (ROOT / "studies/src").resolve() == ROOT / "src"
