"""A Ray cluster gives the results of one machine, byte for byte, even if nodes are lost."""

import hashlib
import importlib
import operator
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from classifold.analysis.pca.components import principal_components
from classifold.augmentation.offline import write_packs
from classifold.data.image_table import iter_columns, iter_images
from classifold.data.pack import read_pack
from classifold.errors import UserError
from classifold.filtering import duplicates as duplicates_module
from classifold.filtering.duplicates import near_groups
from classifold.ingest.detection import find_source
from classifold.ingest.ingestion import ingest
from classifold.ingest.tree import FolderTree
from classifold.runtime import chunks, parallel, ray_cluster
from classifold.runtime.parallel import ordered_map
from classifold.serving.predict import Classifier
from forked_python import forked_tools
from stage_process import free_port
from worker_functions import counted, failing_items, negative, slowly

MANY = 10**6  # enough items for other processes to pay
N_IMAGES = 1100

STORE = 80 * 2**20
NODE = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}


def add_node(cluster, **settings):
    node = cluster.add_node(**NODE | settings)
    cluster.wait_for_nodes(timeout=60)
    return node


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one core on this machine."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install classifold[ray])")
    code = [str(Path(parallel.__file__).parents[2]), str(Path(__file__).parent)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(code))  # as if both were installed on the nodes
        patch.setenv("RAY_worker_niceness", "0")  # not 15, since other tests run at the same time
        for name, value in ray_cluster.QUIET.items():
            patch.setenv(name, value)
        utils = importlib.import_module("ray.cluster_utils")
        nodes = utils.Cluster(initialize_head=True, head_node_args=NODE)
        add_node(nodes)
        yield nodes
        importlib.import_module("ray").shutdown()
        nodes.shutdown()


@pytest.fixture
def on_cluster(cluster, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    wait_for_lost_nodes(cluster)
    return cluster


def wait_for_lost_nodes(cluster):
    """Wait until Ray has noticed which nodes an earlier test has removed."""
    ray = importlib.import_module("ray")
    deadline = time.monotonic() + 60
    while ray.is_initialized():
        if sum(node["Alive"] for node in ray.nodes()) == len(cluster.list_all_nodes()):
            return
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.fixture(autouse=True)
def no_engine_selected(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.delenv("CLASSIFOLD_ENGINE", raising=False)


@pytest.mark.cluster
def test_results_of_a_cluster_are_in_order_and_its_window_is_bounded(on_cluster):
    taken = []
    results = ordered_map(operator.neg, counted(range(3000), taken), n_items=MANY)
    assert next(results) == 0
    assert len(taken) <= 2 * chunks.CHUNKS_PER_WORKER * chunks.ITEMS_PER_CHUNK
    assert list(results) == [-item for item in range(1, 3000)]


@pytest.mark.cluster
def test_large_items_are_not_all_sent_to_the_cluster_at_once(on_cluster):
    taken = []
    images = (np.full((1024, 1024, 8), i % 256, np.uint8) for i in range(40))
    results = ordered_map(
        np.max, counted(images, taken), n_items=MANY, n_bytes=lambda image: image.nbytes
    )
    assert next(results) == 0
    assert len(taken) <= 5  # of 8 MiB; four chunks of 4 MiB per worker
    assert list(results) == list(range(1, 40))


@pytest.mark.cluster
def test_errors_of_the_function_and_of_the_items_are_raised_unchanged(on_cluster):
    with pytest.raises(TypeError, match="bad operand type"):
        list(ordered_map(operator.neg, [1, 2, "three", *range(100)], n_items=MANY))
    with pytest.raises(OSError, match="the disk is gone"):
        list(ordered_map(operator.neg, failing_items(), n_items=MANY))


@pytest.mark.cluster
def test_an_item_that_ends_its_process_does_not_affect_other_items(on_cluster, monkeypatch):
    monkeypatch.setattr(chunks, "ITEMS_PER_CHUNK", 3)
    items = [*range(5), 13, 113, *range(20, 40)]
    results = ordered_map(negative, items, n_items=MANY, on_crash="item {} crashed".format)
    expected = [f"item {i} crashed" if i % 100 == 13 else -i for i in items]
    assert list(results) == expected
    with pytest.raises(UserError, match=r"worker process was killed.*memory"):
        list(ordered_map(negative, [1, 13], n_items=MANY))


@pytest.mark.cluster
def test_a_node_with_other_code_is_an_error(on_cluster, monkeypatch):
    monkeypatch.setattr(ray_cluster, "code_version", lambda: "classifold 00000000")
    with pytest.raises(UserError, match=r"the Ray node .* has classifold .*, and this machine"):
        list(ordered_map(operator.neg, range(10), n_items=MANY))


@pytest.mark.cluster
def test_no_result_is_lost_with_a_node(cluster, on_cluster, monkeypatch):
    monkeypatch.setattr(chunks, "ITEMS_PER_CHUNK", 8)
    lost = add_node(cluster, num_cpus=2)
    n_items, done = 1200, []
    results = ordered_map(slowly, range(n_items), n_items=MANY, on_crash=lambda _: (0, "crashed"))
    for result in results:
        done.append(result)
        if len(done) == n_items // 4:
            cluster.remove_node(lost, allow_graceful=False)
    assert [value for _, value in done] == [-item for item in range(n_items)]
    before, after = ({pid for pid, _ in some} for some in (done[:300], done[-300:]))
    assert len(before) >= 3  # one process per core; those of the lost node end
    assert before - after


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Synthetic images of two classes, some near duplicates, and one file that is no image."""
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(1)
    for i in range(N_IMAGES):
        coarse = random.integers(0, 256, (6, 6, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((24 + i % 3, 24), Image.Resampling.BICUBIC)
        folder = root / f"class{i % 2}"
        folder.mkdir(exist_ok=True)
        picture.save(folder / f"{i:05}.{'png' if i % 5 else 'jpg'}")
        if i % 50 == 0:
            picture.save(folder / f"{i:05}-again.jpg", quality=60)
    (root / "class0/broken.jpg").write_bytes(b"no image")
    return root


class Watched(FolderTree):
    """A folder that calls `do` after `after` files were read."""

    def __init__(self, root, *, after=0, do=None):
        super().__init__(root)
        self._after, self._do, self._n_read = after, do, 0

    def read(self, name):
        self._n_read += 1
        if self._n_read == self._after:
            self._do()
        return super().read(name)


def run_stages(tree, out):
    """Compute table, near duplicates, packs and components of a folder as the stages do."""
    table = out / "table"
    table.mkdir(parents=True)
    source = find_source(tree, layout="folder", task="single", where="photos")
    ingest(
        tree,
        source,
        table,
        background=(255, 255, 255),
        max_unreadable={"fraction": 0.1, "count": 0},
    )
    rows = list(iter_columns(table, ["id", "labels", "perceptual_hash"]))
    groups = near_groups([row["perceptual_hash"] for row in rows], distance=8)
    labels = {row["id"]: row["labels"] for row in rows}
    for storage in ("raw", "jpeg"):
        write_packs(
            {"train": iter_images(table, labels), "validation": []},
            {"train": labels, "validation": {}},
            out / storage,
            **{"task": "single", "size": 16, "resize": "lanczos", "storage": storage, "seed": 1},
            **{"flips": ["none", "horizontal"], "warped": 1, "rotate": 15, "scale": [0.8, 1.0]},
            **{"shear": 5, "shift": [0.1, 0], "fill": "reflect"},
        )
    found = principal_components(read_pack(out / "raw/train").originals().images, size=12)
    components = {name: [array.tobytes() for array in found[name]] for name in found}
    return groups, components


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.cluster
def test_outputs_of_data_stages_are_equal_even_if_a_node_is_lost(
    photos, cluster, tmp_path, monkeypatch
):
    # So that the search is split into tasks.
    monkeypatch.setattr(duplicates_module, "PAIRS_PER_MILLISECOND", 1)
    expected = run_stages(FolderTree(photos), tmp_path / "here")
    assert 10 < len(expected[0]) < 100

    lost = add_node(cluster)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    tree = Watched(
        photos, after=N_IMAGES // 2, do=lambda: cluster.remove_node(lost, allow_graceful=False)
    )
    found = run_stages(tree, tmp_path / "there")
    assert lost not in cluster.list_all_nodes()
    assert found == expected
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")


@pytest.mark.cluster
@pytest.mark.parametrize("task", ["single", "multi"])
def test_predictions_for_new_images_are_equal_bit_for_bit(project, on_cluster, monkeypatch, task):
    root = project(task)
    monkeypatch.setattr(parallel, "MIN_ITEMS_FOR_PROCESSES", 2)
    images = [root / "source"]
    found = list(Classifier.load(root).predict(images))
    monkeypatch.setenv("CLASSIFOLD_ENGINE", "local")
    assert found == list(Classifier.load(root).predict(images))
    assert len(found) == 8


STAGE_ON_OWN_CLUSTER = """
from classifold.runtime.parallel import ordered_map
from classifold.runtime.stage import run_stage
from worker_functions import slowly

def main():
    for _, value in ordered_map(slowly, range(10**6), n_items=10**6):
        print(-value, flush=True)

run_stage(main)
"""


@pytest.mark.cluster
def test_a_local_cluster_ends_when_ctrl_c_stops_the_stage(tmp_path):
    pytest.importorskip("ray", reason="Ray is not installed (pip install classifold[ray])")
    shutil.copyfile(Path(parallel.__file__).parents[3] / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "stage.py").write_text(STAGE_ON_OWN_CLUSTER)
    code = [str(Path(parallel.__file__).parents[2]), str(Path(__file__).parent)]
    environment = {"CLASSIFOLD_ENGINE": "ray", "PYTHONPATH": os.pathsep.join(code)}
    stage = subprocess.Popen(
        [sys.executable, "stage.py"],
        cwd=tmp_path,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    line = stage.stdout.readline()
    assert "on Ray at this machine" in line
    assert [int(stage.stdout.readline()) for _ in range(100)] == list(range(100))
    below = psutil.Process(stage.pid).children(recursive=True)
    assert "raylet" in {process.name() for process in below}
    os.killpg(stage.pid, signal.SIGINT)  # as a terminal does
    _, errors = stage.communicate(timeout=60)
    assert stage.returncode == 130
    assert "stage: stopped by Ctrl-C" in errors
    assert "Traceback" not in errors
    assert psutil.wait_procs(below, timeout=30)[1] == []


ON_CLUSTER = """
import operator
from classifold.runtime.parallel import ordered_map
from classifold.runtime.stage import run_stage

def main():
    print(sum(ordered_map(operator.neg, range(1000), n_items=10**6)))

run_stage(main)
"""


@pytest.fixture
def ray_command(tmp_path):
    """The `ray` command of a user with an own home; nodes end with the test."""
    pytest.importorskip("ray", reason="Ray is not installed (pip install classifold[ray])")
    (tmp_path / "home").mkdir()
    code = [str(Path(parallel.__file__).parents[2]), str(Path(__file__).parent)]
    environment = os.environ | {"HOME": str(tmp_path / "home"), "PYTHONPATH": ":".join(code)}
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    nodes = []

    def run(*command, expect=0, **settings):
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout if expect == 0 else done.stderr

    def start(*arguments, ready, **settings):
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *arguments]
        command += ["--num-cpus=1", f"--object-store-memory={STORE}", "--disable-usage-stats"]
        node = subprocess.Popen(
            command,
            env=environment | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        nodes.append(node)
        assert any(ready in line for line in node.stdout)

    yield run, start
    for node in nodes:
        node.terminate()  # with its processes
    for node in nodes:
        node.communicate(timeout=60)


@pytest.mark.cluster
def test_the_ray_command_starts_a_cluster_that_requires_a_token(ray_command, tmp_path):
    run, start = ray_command
    ray = (sys.executable, "-m", "ray.scripts.scripts")
    port = free_port()
    address = f"127.0.0.1:{port}"
    shutil.copyfile(Path(parallel.__file__).parents[3] / "params.yaml", tmp_path / "params.yaml")
    (tmp_path / "stage.py").write_text(ON_CLUSTER)
    token = {"RAY_AUTH_MODE": "token"}
    run(*ray, "get-auth-token", "--generate")
    head = ("--head", f"--port={port}", "--node-ip-address=127.0.0.1")
    start(*head, "--include-dashboard=false", ready="Ray runtime started", **token)
    start(f"--address={address}", ready="Ray runtime started", **token)
    for place in (address, "auto"):
        stage = (sys.executable, "stage.py")
        text = run(*stage, expect=1, RAY_ADDRESS=place, RAY_AUTH_MODE="disabled")
        assert text.startswith(f"stage: RAY_AUTH_MODE: the Ray cluster at {place} requires a token")
        assert text.count("\n") == 1
    printed = run(sys.executable, "stage.py", RAY_ADDRESS=address, **token)
    assert "2 cores, nodes: 2" in printed
    assert str(-sum(range(1000))) in printed


@pytest.mark.parametrize("listening", [False, True])
def test_an_address_without_a_cluster_is_one_message_soon(monkeypatch, capfd, listening):
    ray = pytest.importorskip("ray", reason="Ray is not installed (pip install classifold[ray])")
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        port = other_program.getsockname()[1] if listening else free_port()
        address = f"127.0.0.1:{port}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray_cluster, "MAX_SECONDS_FOR_STATUS", 3.0)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        with pytest.raises(UserError, match=f"RAY_ADDRESS.*{address}.*unset RAY_ADDRESS"):
            list(ordered_map(operator.neg, range(10), n_items=MANY))
        assert capfd.readouterr() == ("", "")


def test_missing_ray_is_an_error_that_names_the_package(monkeypatch):
    monkeypatch.setenv("CLASSIFOLD_ENGINE", "ray")
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"pip install classifold\[ray\]"):
        list(ordered_map(operator.neg, range(10), n_items=MANY))


def test_an_unknown_engine_is_an_error(monkeypatch):
    monkeypatch.setenv("CLASSIFOLD_ENGINE", "spark")
    with pytest.raises(UserError, match=r"CLASSIFOLD_ENGINE.*local or ray.*spark"):
        list(ordered_map(operator.neg, range(10), n_items=MANY))


def test_the_local_engine_can_be_selected_although_there_is_a_cluster(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("CLASSIFOLD_ENGINE", "local")
    assert list(ordered_map(operator.neg, [1, 2], n_items=MANY, local="threads")) == [-1, -2]


WITHOUT_RAY = """
import sys
from classifold.analysis.pca import components as pca
from classifold.augmentation import offline
from classifold.filtering import duplicates as duplicates_module
from classifold.ingest import ingestion
from classifold.runtime.parallel import ordered_map
list(ordered_map(abs, range(2000), n_items=2000, local="threads"))
assert "ray" not in sys.modules
"""


@pytest.mark.cluster
def test_ray_is_imported_only_for_a_cluster():
    environment = {**os.environ, "PYTHONPATH": str(Path(parallel.__file__).parents[2])}
    subprocess.run([forked_tools() / "python", "-c", WITHOUT_RAY], check=True, env=environment)
