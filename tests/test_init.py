"""A project that `classifold init` writes gives the results of a clone, and can be upgraded."""

import shutil
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from classifold.errors import UserError
from classifold.project.pipeline_file import check_code, hashes_of_code, make_pipeline, stage_code
from classifold.project.upgrade import NEW_SECTION
from classifold.runtime.source_code import code_behind
from stages_in_one_process import stages_of
from synthetic_clone import ROOT, Clone, copy_clone, draw_data, finished_clone, stages_run

OWN = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
MADE = YAML(typ="safe").load(make_pipeline())


def body_of_stage(stage):
    return stage.get("do", stage)


def without_code(stage):
    return {key: value for key, value in stage.items() if key not in ("cmd", "deps")}


def is_code(dep):
    return dep.startswith(("src/", "stages/", "code/"))


@pytest.mark.parametrize("name", OWN["stages"])
def test_a_stage_of_a_project_differs_only_in_its_command_and_its_code(name):
    own, made = body_of_stage(OWN["stages"][name]), body_of_stage(MADE["stages"][name])
    assert without_code(own) == without_code(made)
    data = [dep for dep in own["deps"] if not is_code(dep)]
    assert [dep for dep in made["deps"] if not is_code(dep)] == data
    network = ["code/networks/${item.network}.txt"] if name in ("train", "folds") else []
    assert [dep for dep in made["deps"] if is_code(dep)] == [f"code/{name}.txt", *network]
    item = " ${key}" if network else ""
    commands = [made["cmd"]] if isinstance(made["cmd"], str) else made["cmd"]
    assert commands[-1] == f"classifold stage {name}{item}"
    assert commands[:-1] == (["classifold check --params-only"] if network else [])


def test_the_rest_of_the_pipeline_is_equal():
    assert list(MADE["stages"]) == list(OWN["stages"])
    assert MADE["plots"] == OWN["plots"]


def test_code_of_a_stage_is_what_it_imports_and_its_templates():
    assert [file for file in stage_code("report") if file.suffix == ".html"]
    assert stage_code("split") == code_behind(ROOT / "stages/split.py")
    networks = {file for file in stage_code("evaluate") if file.parent.name == "networks"}
    assert {file.stem for file in networks} >= {"mlp", "probe", "vgg"}
    assert not [file for file in stage_code("train") if file.parent.name == "networks"]


def test_a_stage_that_runs_other_code_than_recorded_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_code("split", None)  # a clone
    for path, text in hashes_of_code().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    check_code("split", None)
    check_code("train", "small_resnet")
    (tmp_path / "code/networks/small_resnet.txt").write_text("0\n")
    check_code("train", "mlp")
    with pytest.raises(UserError, match=r"code/networks/small_resnet.txt: .*classifold upgrade"):
        check_code("train", "small_resnet")
    (tmp_path / "code/split.txt").unlink()
    with pytest.raises(UserError, match=r"code/split.txt: .*classifold upgrade"):
        check_code("split", None)


class Project(Clone):
    """A project that runs the code of a clone."""

    def __init__(self, root, code):
        super().__init__(root)
        self.code = code

    def environment(self, *, forked=False):
        return super().environment(forked=forked) | {"PYTHONPATH": str(self.code / "src")}


def init(code, root, data):
    """A new project."""
    root.mkdir()
    project = Project(root, code)
    project.output = project.run("classifold", "init", ".", "--data", str(data))
    project.commit()
    return project


# In one process, where importing the libraries takes its seconds once.
RUN = f"""
from classifold.cli.app import app
for stage in {["check", *stages_of("mlp", "resnet")]}:
    app(["stage", *stage.split()], standalone_mode=False)
"""


@pytest.mark.dvc
@pytest.mark.promise("package-alone")
def test_the_same_data_and_params_give_the_same_bytes_as_in_a_clone(tmp_path, tmp_path_factory):
    clone = finished_clone(tmp_path_factory)
    project = init(clone.root, tmp_path / "a project", clone.root / "data/raw/synthetic")
    shutil.copy(clone.root / "params.yaml", project.root / "params.yaml")
    project.run("python", "-c", RUN)
    expected, content = made(clone), made(project)
    assert len(expected) > 70
    assert {n for n in expected | content if expected.get(n) != content.get(n)} == set()
    assert (project.root / "reports/index.html").is_file()
    status = project.run("git", "status", "--short", "--untracked-files=all").splitlines()
    changed = {line[3:] for line in status}
    assert {Path(name).parent.name for name in changed - {"params.yaml"}} == {"metrics"}


def made(project):
    """The hash of every file that the stages made."""
    return {name: text for name, text in project.content().items() if "data/raw" not in name}


@pytest.fixture
def project(tmp_path, new_project):
    """A project of this test's own in which no stage has run, and the code that it runs."""
    for name in ("project", "clone"):
        shutil.copytree(new_project.root.parent / name, tmp_path / name, symlinks=True)
    project = Project(tmp_path / "project", tmp_path / "clone")
    project.output = new_project.output
    return project


@pytest.fixture(scope="module")
def new_project(tmp_path_factory):
    root = tmp_path_factory.mktemp("init")
    copy_clone(root / "clone")
    draw_data(root / "shapes")
    return init(root / "clone", root / "project", root / "shapes")


@pytest.mark.dvc
@pytest.mark.promise("fit", "init")
def test_init_writes_a_whole_project(project):
    assert "3 classes: circle 41, cross 41, square 42" in project.output
    assert "dataset.task: single" in project.output
    assert project.run("classifold", "check").startswith("data/raw/shapes: layout folder")
    assert project.run("git", "status", "--short") == ""
    tracked = set(project.run("git", "ls-files").splitlines())
    expected = {
        "dvc.yaml",
        "params.yaml",
        ".gitignore",
        ".dvcignore",
        "README.md",
        "code/split.txt",
    }
    assert expected | {"requirements.txt", "data/raw/shapes.dvc", "ci/github/report.yml"} <= tracked
    assert not [name for name in tracked if name.startswith("data/raw/shapes/")]
    *remarks, pinned = (project.root / "requirements.txt").read_text().splitlines()
    assert pinned.startswith("classifold") and "not on PyPI" in remarks[0]
    ci = (project.root / "ci/github/report.yml").read_text()
    assert "pip install -r requirements.txt" in ci and "make " not in ci
    # No absolute path of this machine.
    texts = [(project.root / name).read_bytes() for name in tracked]
    assert not [text for text in texts if str(project.root.parent).encode() in text]
    stages = project.run("dvc", "stage", "list", "--name-only").split()
    assert {stage.partition("@")[0] for stage in stages} == set(OWN["stages"])
    project.run("classifold", "init", "other", "--data", "data/raw/shapes", expect=1)


@pytest.mark.dvc
def test_after_an_upgrade_dvc_runs_the_stages_whose_code_changed(project):
    first = ["check", "ingest", "filter", "split"]
    assert stages_run(project.repro("split")) == first
    before = made(project)
    code = project.code / "src/classifold/splitting/files.py"
    code.write_text(code.read_text() + "\n# changed\n")
    assert stages_run(project.repro("split")) == []  # the package is newer, the project is not
    output = project.repro("-f", "-s", "split", expect=None)
    assert "code/split.txt: must have the hash" in output and "classifold upgrade" in output
    assert project.run("classifold", "upgrade") == "code/split.txt: changed\n"
    assert stages_run(project.repro("split")) == ["split"]
    assert made(project) == before


@pytest.mark.dvc
def test_an_upgrade_renews_what_changed_and_keeps_what_the_user_changed(project):
    code = project.code
    assert project.run("classifold", "upgrade") == "Nothing changed.\n"

    (project.root / ".dvc/plots_page.html").write_text("cut short, or of an earlier version")
    network = code / "src/classifold/networks/mlp.py"
    network.write_text(network.read_text() + "\n# changed\n")
    changed = ["evaluate.txt", "explain.txt", "networks/mlp.txt", "novelty.txt"]
    changed += ["robustness.txt", "tsne.txt"]
    output = project.run("classifold", "upgrade").splitlines()
    assert sorted(output) == [f"code/{name}: changed" for name in changed]

    assert "</template>" in (project.root / ".dvc/plots_page.html").read_text()
    pipeline = code / "dvc.yaml"
    pipeline.write_text(pipeline.read_text() + "# newer\n")
    assert project.run("classifold", "upgrade") == "dvc.yaml: changed\n"
    assert (project.root / "dvc.yaml").read_text().endswith("# newer\n")

    params = project.root / "params.yaml"
    section = NEW_SECTION.search(params.read_text()).group()
    params.write_text(params.read_text().replace(section, ""))
    assert project.run("classifold", "upgrade") == "params.yaml: section robustness added\n"
    assert project.run("classifold", "check").startswith("data/raw/shapes")

    own = project.root / "dvc.yaml"
    own.write_text(own.read_text() + "# mine\n")
    assert project.run("classifold", "upgrade") == "Nothing changed.\n"
    pipeline.write_text(pipeline.read_text() + "# newest\n")
    assert "dvc.yaml: kept" in project.run("classifold", "upgrade")
    assert own.read_text().endswith("# newer\n# mine\n")
    assert (project.root / "dvc.yaml.new").read_text().endswith("# newer\n# newest\n")
    assert project.run("classifold", "upgrade") == "Nothing changed.\n"
    (code / "src/classifold/networks/vgg.py").unlink()
    assert "code/networks/vgg.txt: removed" in project.run("classifold", "upgrade")


@pytest.mark.dvc
def test_a_clone_is_not_upgraded(project):
    output = Project(project.code, project.code).run("classifold", "upgrade", expect=1)
    assert output.startswith("code: no such folder")
