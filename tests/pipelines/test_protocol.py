"""Every rule of a study protocol has a file that breaks it and the message it must give."""

import inspect
from pathlib import Path

import pytest

from models.propensity import fit_propensity
from models.registry import DESIGNS, EFFECTS
from pipelines.errors import ProtocolError
from pipelines.method_settings.propensity import PropensitySettings
from pipelines.protocol import DesignSection, Effects, load_protocol

ROOT = Path(__file__).parents[2]
INVALID = sorted((ROOT / "tests/protocols/invalid").glob("*.toml"))
STUDIES = sorted((ROOT / "configs/studies").glob("*.toml"))
GIVEN_BY_THE_PIPELINE = {"estimand", "rng", "kind", "confidence", "horizon", "is_randomised", "followed"}


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_protocol_is_refused_with_its_message(path: Path) -> None:
    lines = path.read_text().splitlines()
    expected = [line.removeprefix("# expect: ") for line in lines if line.startswith("# expect: ")]
    with pytest.raises(ProtocolError) as error:
        load_protocol(path)
    assert expected
    for message in expected:
        assert message in str(error.value)
    assert all(problem.startswith(str(path)) for problem in error.value.problems)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_of_the_project_loads(path: Path) -> None:
    assert load_protocol(path).study.name == path.stem


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="there is no such file"):
        load_protocol(tmp_path / "none.toml")


def _settings() -> list[tuple[str, type, object]]:
    sections = [(DesignSection, DESIGNS), (Effects, EFFECTS)]
    methods = [
        (name, section.model_fields[name].annotation, method.function)
        for section, registry in sections
        for name, method in registry.items()
    ]
    return [*methods, ("propensity", PropensitySettings, fit_propensity)]


@pytest.mark.parametrize("method", _settings(), ids=lambda method: method[0])
def test_settings_and_signatures_agree(method: tuple[str, type, object]) -> None:
    _, settings, function = method
    parameters = inspect.signature(function).parameters.values()
    options = {
        p.name: p.default
        for p in parameters
        if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in GIVEN_BY_THE_PIPELINE
    }
    assert options == {key: field.default for key, field in settings.model_fields.items()}
