"""The order and the names of the tests, and the fixtures of `shared_fixtures.py`."""

import atexit
import gc
import json
import os
from contextlib import suppress

import pytest

# Garbage collection would search the modules and tests again and again, a fifth of all time.
gc.disable()

# Git refuses to read a clone of another user without it.
os.environ |= {
    "GIT_CONFIG_COUNT": "1",
    "GIT_CONFIG_KEY_0": "safe.directory",
    "GIT_CONFIG_VALUE_0": "*",
}

SLOWEST_FIRST = ("dvc", "cluster", "browser", "slow")  # markers


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items):
    """A test that needs dvc, a browser or a cluster is slow, too; slow files are run first."""
    ranks = {}
    for item in items:
        ranks.setdefault(item.path, len(SLOWEST_FIRST))
        for rank, name in enumerate(SLOWEST_FIRST):
            if item.get_closest_marker(name):
                item.add_marker("slow")
                ranks[item.path] = min(rank, ranks[item.path])
    items.sort(key=lambda item: ranks[item.path])


def pytest_collection_finish():
    """From here on, garbage collection leaves out what exists already."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # otherwise, libraries report what is left at the end


def pytest_make_parametrize_id(val):
    """Name collections, arrays and errors in a table by their content, not by a number."""
    if isinstance(val, BaseException):
        return repr(val)[:60]
    if isinstance(val, dict | list | tuple | set) or hasattr(val, "tolist"):
        with suppress(TypeError):  # other objects in it
            text = json.dumps(val, default=lambda v: getattr(v, "tolist", lambda: sorted(v))())
            return (text.translate(dict.fromkeys(map(ord, '{}"'))) or text)[:60]
    return None


@pytest.hookimpl(trylast=True)  # after xdist has chosen its plugins
def pytest_configure(config):
    """Save seconds: only processes that run tests import libraries, and workers end at once."""
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)
    if not config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.import_plugin("shared_fixtures")
