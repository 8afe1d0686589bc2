"""What the site adds to the proofs of its machinery."""

import pytest

from tests.photos.pictures import picture
from tests.twelve.processes import wait_until


@pytest.fixture
def also_on_each_service():
    """On each combination of backing services a person uploads a photo, and a worker makes its renditions."""

    def upload_a_photo(person, worker):
        person.post("/photos/", files=[("photo", "holiday.jpg", picture())])
        wait_until(lambda: "320.webp" in person.get("/photos/"), 60, lambda: worker.text)

    return upload_a_photo
