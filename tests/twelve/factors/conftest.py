"""What the proofs share: one build, from which they run whole deploys."""

import pytest

from tests.twelve.builds import Build


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    """The build of a deploy: installed and collected with an empty environment, and read-only since."""
    build = Build(tmp_path_factory.mktemp("built"))
    yield build
    build.open()
