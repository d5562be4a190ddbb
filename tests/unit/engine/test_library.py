import pytest
from engine_bench import make_source

from phosphene_server.engine.library import ModelLibrary
from phosphene_server.errors import DamagedModel, ModelBusy


@pytest.fixture
def loads() -> list[str]:
    return []


@pytest.fixture
def library(loads) -> ModelLibrary[str]:
    def load(source) -> str:
        loads.append(source.reference.name)
        return f"{source.reference.name} {source.sha256}"

    return ModelLibrary(load, limit=2)


def test_a_model_is_loaded_once(library, loads):
    assert library.get(make_source("a")) is library.get(make_source("a"))
    assert loads == ["a"]


def test_a_replaced_file_is_another_model(library, loads):
    assert library.get(make_source("a", sha256="01")) != library.get(make_source("a", sha256="02"))
    assert loads == ["a", "a"]


def test_the_least_recently_used_model_goes_first(library, loads):
    for name in ("a", "b", "a", "c", "a"):
        library.get(make_source(name))
    assert loads == ["a", "b", "c"]
    library.get(make_source("b"))
    assert loads == ["a", "b", "c", "b"]


def test_a_held_model_is_never_dropped(library, loads):
    library.hold(make_source("a"))
    for name in ("b", "c", "d", "a"):
        library.get(make_source(name))
    assert loads == ["a", "b", "c", "d"]


def test_more_models_than_the_limit_may_be_held(library, loads):
    for name in "abc":
        library.hold(make_source(name))
    for name in "abc":
        library.get(make_source(name))
    assert loads == ["a", "b", "c"]


def test_unloading_says_whether_the_model_was_loaded(library, loads):
    library.get(make_source("a"))
    assert library.unload(make_source("a").reference)
    assert not library.unload(make_source("a").reference)
    library.get(make_source("a"))
    assert loads == ["a", "a"]


def test_a_model_in_use_is_not_unloaded_until_the_last_job_lets_go(library):
    source = make_source("a")
    library.hold(source)
    library.hold(source)
    library.release(source)
    with pytest.raises(ModelBusy):
        library.unload(source.reference)
    library.release(source)
    assert library.unload(source.reference)


def test_a_model_that_cannot_be_loaded_is_tried_again():
    def load(source):
        raise DamagedModel("a", "torn")

    library = ModelLibrary(load, limit=2)
    for _ in range(2):
        with pytest.raises(DamagedModel):
            library.hold(make_source("a"))
    assert not library.unload(make_source("a").reference)


def test_idle_models_are_dropped_until_enough_is_free_the_oldest_first():
    sizes = {"a": 10, "b": 20, "c": 30, "d": 40}
    library = ModelLibrary(lambda source: source.reference.name, limit=4, size_bytes=sizes.__getitem__)
    for name in "abcd":
        library.get(make_source(name))
    library.hold(make_source("a"))
    library.drop_idle(25, keep=make_source("b"))
    assert [library.has(make_source(name)) for name in "abcd"] == [True, True, False, True]
    assert library.size_bytes == 70
    library.drop_idle(1000, keep=make_source("b"))
    assert library.size_bytes == 30


def test_a_model_is_held_at_once_only_if_it_is_there():
    loaded = []
    library = ModelLibrary(loaded.append, limit=2)
    source = make_source("a")
    assert not library.hold_if_there(source)
    assert loaded == []
    library.get(source)
    assert library.hold_if_there(source)
    with pytest.raises(ModelBusy):
        library.unload(source.reference)
    library.release(source)
    assert library.unload(source.reference)
