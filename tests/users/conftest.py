import pytest
from allauth.account.models import EmailAddress

from apps.users.models import User
from tests.users.steps import ADDRESS, PASSWORD


@pytest.fixture
def user(db):
    user = User.objects.create_user(ADDRESS, PASSWORD)
    EmailAddress.objects.create(user=user, email=ADDRESS, verified=True, primary=True)
    return user
