"""The architecture: what dvc.yaml declares is what the code does."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.params import check_params
from classifold.searching.plan import CODE

ROOT = Path(__file__).parents[1]
PIPELINE = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
SEARCH = YAML(typ="safe").load((ROOT / "studies/search/dvc.yaml").read_text())["stages"]["search"]
STAGES = {name: stage.get("do", stage) for name, stage in PIPELINE["stages"].items()}
SOURCES = sorted((ROOT / "src/classifold").rglob("*.py"))

# A module imports only from rooms above its own.
HOUSE = [
    "errors",
    "plain_text",
    "git",
    "faults",
    "folders",
    "metrics_file",
    "csv_file",
    "progress",
    "orphans",
    "parallel",
    "ray_cluster",
    "seeding",
    "params",
    "stage",
    "digits",
    "perceptual_hash",
    "images",
    "table",
    "pixels",
    "image_arrays",
    "pack",
    "logits_file",
    "out_of_fold",
    "decisions",
    "intervals",
    "device",
    "glyphs",
    "sources",
    "filtering",
    "splitting",
    "augmentation",
    "weights_file",
    "networks",
    "preprocessing",
    "model_file",
    "inference",
    "training",
    "searching",
    "compared",
    "stacking",
    "evaluation",
    "analysis",
    "generating",
    "reporting",
    "new_images",
    "predict",
    "answers_file",
    "export",
    "plots_page",
    "recipes",
    "dvc_files",
    "cli",
    "__main__",
]

# Checks values and hands them over; the values themselves are declared as params.
EXEMPT = "src/classifold/params.py"


def imports(file: Path) -> list[str]:
    """The modules of the package that a file imports."""
    return [
        node.module
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("classifold.")
    ]


def needs(file: str) -> list[str]:
    """The modules that a file imports; who builds networks by name may import any of theirs."""
    modules = imports(ROOT / file)
    if file == "src/classifold/model_file.py":
        for network in sorted((ROOT / "src/classifold/networks").glob("*.py")):
            modules += imports(network)
    return modules


def code_behind(file: str) -> set[str]:
    """`file` and every module of the package it needs, directly or not."""
    files = {file}
    for module in needs(file):
        needed = f"src/{module.replace('.', '/')}.py"
        if needed not in files:
            files |= code_behind(needed)
    return files


def room(module: str) -> str:
    return module.split(".")[1]


def params_read(stage: str) -> set[str]:
    """The keys a stage script asks for, names in f-strings as dvc.yaml writes them."""
    keys: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / f"stages/{stage}.py").read_text())):
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


@pytest.mark.parametrize("stage", STAGES)
def test_stage_declares_all_the_code_it_runs(stage):
    declared = STAGES[stage]["deps"]
    for file in code_behind(f"stages/{stage}.py") - {EXEMPT}:
        assert file in declared or any(file.startswith(f"{folder}/") for folder in declared), file


@pytest.mark.parametrize("stage", STAGES)
def test_stage_declares_no_code_it_does_not_run(stage):
    declared = {dep for dep in STAGES[stage]["deps"] if dep.endswith(".py") and "${" not in dep}
    assert declared <= code_behind(f"stages/{stage}.py")


def code_of_searches() -> set[str]:
    files = [*(ROOT / "src/classifold/searching").glob("*.py")]
    files.append(ROOT / "src/classifold/reporting/search_page.py")
    return set().union(*(code_behind(str(file.relative_to(ROOT))) for file in files)) - {EXEMPT}


def test_searches_declare_the_code_that_they_run_and_no_other():
    declared = SEARCH["do"]["deps"]
    for file in code_of_searches():
        assert file in declared or any(file.startswith(f"{folder}/") for folder in declared), file
    assert {dep for dep in declared if dep.endswith(".py")} <= code_of_searches()
    assert "src/classifold/networks" in declared


def test_every_search_file_is_a_stage_that_the_main_pipeline_does_not_run():
    files = {path.stem for path in (ROOT / "studies/search/searches").glob("*.yaml")}
    assert set(SEARCH["foreach"]) == files
    assert "search" not in STAGES
    assert SEARCH["do"]["wdir"] == "../.."
    assert not any("studies" in dep for stage in STAGES.values() for dep in stage["deps"])


def test_searches_are_told_apart_by_the_code_behind_a_trial():
    code = {f"src/classifold/{place}" for place in CODE}
    behind = code_behind("src/classifold/searching/trial.py")
    behind |= code_behind("src/classifold/searching/space.py")
    # They change no score.
    silent = {"errors", "faults", "folders", "orphans", "plain_text", "progress"}
    behind -= {f"src/classifold/{module}.py" for module in silent}
    assert code == behind - {EXEMPT}


def test_searches_never_see_test_images():
    assert not [dep for dep in SEARCH["do"]["deps"] if dep.startswith("data/split")]
    assert SEARCH["do"]["deps"][0] == "data/augmented"  # training and validation images


@pytest.mark.parametrize("stage", ["train", "folds", "evaluate", "tsne", "explain"])
def test_stage_that_builds_networks_declares_them(stage):
    networks = [d for d in STAGES[stage]["deps"] if d.startswith("src/classifold/networks")]
    expected = "/${item.network}.py" if stage in {"train", "folds"} else ""
    assert networks == [f"src/classifold/networks{expected}"]


@pytest.mark.parametrize("stage", STAGES)
def test_stage_declares_exactly_the_params_it_reads(stage):
    assert params_read(stage) == declared_params(stage)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_says_what_it_is_for(stage):
    assert STAGES[stage]["desc"].endswith(".")


def test_only_evaluate_sees_the_test_images():
    readers = [
        name
        for name, stage in STAGES.items()
        if {"data/split/test.csv", "data/split"} & set(stage["deps"])
    ]
    # `report` shows how many images each part holds; nothing is fitted after it.
    assert [name for name in readers if name != "report"] == ["evaluate"]


def test_nothing_that_is_fitted_depends_on_an_evaluation():
    readers = [
        name for name, stage in STAGES.items() if any("evaluated" in dep for dep in stage["deps"])
    ]
    assert set(readers) <= {"explain", "report"}


def test_an_evaluation_applies_decisions_and_imports_nothing_that_fits():
    files = [ROOT / "stages/evaluate.py", *(ROOT / "src/classifold/evaluation").glob("*.py")]
    names = [
        alias.name
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert "ensemble_logits" in names
    assert not [name for name in names if name.startswith(("fit", "cross_fit"))]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: file.stem)
def test_imports_point_one_way(file):
    here = room(".".join(file.relative_to(ROOT / "src").with_suffix("").parts) + ".")
    if here == "__init__":
        return
    for module in imports(file):
        assert HOUSE.index(room(module)) <= HOUSE.index(here), f"{here} imports {module}"


def test_what_is_loaded_by_name_is_a_network_or_may_change_no_byte():
    """No stage declares the cluster's side: tests/test_ray_cluster.py holds it to the bytes."""
    by_name = {
        ast.unparse(node.args[0])
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module")
    }
    ours = {name for name in by_name if "classifold" in name}
    assert ours == {"'classifold.ray_cluster'", "f'classifold.networks.{network}'"}
    assert not any("ray_cluster" in dep for stage in STAGES.values() for dep in stage["deps"])


def test_networks_import_no_sibling_and_nothing_about_training():
    for file in (ROOT / "src/classifold/networks").glob("*.py"):
        assert set(imports(file)) <= {"classifold.errors", "classifold.weights_file"}


@pytest.mark.parametrize("module", ["predict", "training.try_model", "reporting.page"])
def test_who_fits_nothing_does_not_wait_for_what_fitting_needs(module):
    slow = {"sklearn", "torchvision", "lightning_fabric", "torch._dynamo", "pandas", "optuna"}
    code = f"import sys, classifold.{module}; print({slow} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert loaded.stdout.strip() == b"set()"


def test_init_files_are_empty():
    assert not [file for file in SOURCES if file.name == "__init__.py" and file.read_text()]


def test_no_pickle_is_loaded():
    refused = (
        *("pickle.load", "Unpickler(", "allow_pickle=True"),
        *("joblib.load(", "read_pickle"),
    )
    scripts = [*(ROOT / "stages").glob("*.py"), *(ROOT / "studies").rglob("*.py")]
    for file in [*SOURCES, *scripts]:
        text = file.read_text()
        assert not [word for word in refused if word in text], file
        loads = [node for node in ast.walk(ast.parse(text)) if _calls_torch_load(node)]
        assert not loads or file.name == "weights_file.py", file
        for call in loads:
            assert "weights_only=True" in ast.unparse(call), file


def _calls_torch_load(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"


@pytest.mark.parametrize(
    "file",
    [ROOT / "params.yaml", *sorted((ROOT / "recipes").glob("*.yaml"))],
    ids=lambda file: file.stem,
)
def test_params_and_recipes_are_valid(file):
    assert set(check_params(file)) == set(check_params(ROOT / "params.yaml"))


def test_what_studies_leave_is_neither_cached_nor_metrics():
    """So `dvc pull` asks for nothing that nobody has made."""
    files = sorted((ROOT / "studies").glob("*/dvc.yaml"))
    assert len(files) == 3
    for file in files:
        for stage in YAML(typ="safe").load(file.read_text())["stages"].values():
            stage = stage.get("do", stage)  # noqa: PLW2901
            assert not stage.keys() & {"metrics", "plots"}
            for out in stage["outs"]:
                ((_, settings),) = out.items()
                assert settings == {"cache": False}
