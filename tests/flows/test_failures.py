"""What leaves a failing stage: kinds and places, never a message or a chained error that could hold a value."""

from pathlib import Path

import pytest

from flows.failures import LOG, DefectError, describe_places, guard
from models.refusals import Refused
from pipelines.errors import SourceError, naming

VALUE = "9434765919"  # an NHS number in a data library's message


def raise_from_a_library() -> None:
    try:
        int(f"{VALUE}x")
    except ValueError as error:
        raise KeyError(VALUE) from error


def test_a_defect_keeps_kinds_and_places_and_no_value(tmp_path: Path) -> None:
    with pytest.raises(DefectError) as caught:
        guard(raise_from_a_library, tmp_path)
    log = (tmp_path / LOG).read_text()
    assert log.splitlines()[0] == "builtins.ValueError"
    assert "which led to" in log
    assert "builtins.KeyError" in log
    assert "in raise_from_a_library" in log
    assert VALUE not in log + str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_the_user_s_mistake_keeps_its_words_and_loses_its_chain(tmp_path: Path) -> None:
    def fail() -> None:
        try:
            raise_from_a_library()
        except KeyError as error:
            raise SourceError(["a.csv: no column 'x'", "b.csv: empty"]) from error

    with pytest.raises(SourceError) as caught:
        guard(fail, tmp_path)
    assert caught.value.problems == ["a.csv: no column 'x'", "b.csv: empty"]
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert not (tmp_path / LOG).exists()


def test_a_hidden_chain_stays_hidden() -> None:
    try:
        try:
            raise_from_a_library()
        except KeyError:
            raise RuntimeError(VALUE) from None
    except RuntimeError as error:
        places = describe_places(error)
    assert places[0] == "builtins.RuntimeError"
    assert VALUE not in "".join(places)


def test_a_mistake_inside_a_method_names_the_method_and_its_own_place(tmp_path: Path) -> None:
    def estimate() -> None:
        with naming("aipw of readmitted_365d on the design matched of peer_vs_virtual"):
            raise_from_a_library()

    with pytest.raises(DefectError) as caught:
        guard(estimate, tmp_path)
    assert caught.value.task == "aipw of readmitted_365d on the design matched of peer_vs_virtual"
    assert caught.value.kind == "KeyError"
    assert "in aipw of readmitted_365d" in str(caught.value)
    log = (tmp_path / LOG).read_text()
    assert "pipelines.errors.MethodError: aipw of readmitted_365d" in log
    assert VALUE not in log + str(caught.value)


def test_refusals_and_the_user_s_mistakes_pass_a_name_unchanged() -> None:
    for error in (Refused("no weights balance"), SourceError("a.csv: empty")):
        with pytest.raises(type(error)) as caught, naming("a method"):
            raise error
        assert caught.value is error
