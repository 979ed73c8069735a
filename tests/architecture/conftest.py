import pytest


@pytest.fixture(scope="session")
def keras():
    import keras

    return keras
