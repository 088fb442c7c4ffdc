"""The order of the tests, and the fixtures of `shared_fixtures.py`."""

import os

import pytest

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


@pytest.hookimpl(trylast=True)  # after xdist has chosen its plugins
def pytest_configure(config):
    """The process that only hands out tests imports no library, which takes seconds."""
    if not config.pluginmanager.hasplugin("dsession"):
        config.pluginmanager.import_plugin("shared_fixtures")
