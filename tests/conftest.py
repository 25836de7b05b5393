"""What all tests share."""

import pytest

import initium

collect_ignore = ["guide"]  # the blocks of the guide import mmengine: test_guide.py runs them

REGISTRIES = (
    initium.WEIGHT_INITIALIZERS,
    initium.CHECKPOINT_SOURCES,
    initium.CHECKPOINT_CONVERTERS,
    initium.CHECKPOINT_ADAPTERS,
)


@pytest.fixture(autouse=True)
def registries_are_as_before():
    """What a test, or a page of the docs, registers is its own."""
    before = [dict(registry._module_dict) for registry in REGISTRIES]
    versions = {name: dict(known) for name, known in initium.PRESETS._versions.items()}
    yield
    for registry, known in zip(REGISTRIES, before, strict=True):
        registry._module_dict.clear()
        registry._module_dict.update(known)
    initium.PRESETS._versions.clear()
    initium.PRESETS._versions.update(versions)
