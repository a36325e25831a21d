"""Every spec test is put to both implementations: the pipeline and the slow reference."""

from typing import Any

import pytest

from tests.spec.text_tables import Answer, Follow, write_world


@pytest.fixture(params=["pipeline", "reference"])
def follow(request: pytest.FixtureRequest) -> Follow:
    """follow(spells, ...) -> Answer; see write_world for the tables that can be given."""

    def answer(spells: str, **tables: Any) -> Answer:
        world = write_world(spells, **tables)
        return Answer(world.follow_fast() if request.param == "pipeline" else world.follow_slowly())

    return answer
