"""What a person does in the tests of the accounts, and the mails that come of it."""

import re

ADDRESS, PASSWORD, NEW_PASSWORD = "ada@example.com", "correct-horse-9", "battery-staple-7"
CODE_PAGE = "/accounts/confirm-email/"


def link_in(mail):
    """The path that the mail sends one to."""
    return re.search(r"http://testserver(/accounts/\S+/\S+/)", mail.get_content())[1]


def code_in(mail):
    """The code that the mail shows, on a line of its own."""
    return re.search(r"^([B-Z]{4}-[B-Z]{4})\s*$", mail.get_content(), re.MULTILINE)[1]


def sign_up(client, address=ADDRESS):
    return client.post("/accounts/signup/", {"email": address, "password1": PASSWORD})


def sign_in(client, address=ADDRESS, password=PASSWORD, **headers):
    return client.post("/accounts/login/", {"login": address, "password": password}, headers=headers)


def enter_code(client, code):
    return client.post(CODE_PAGE, {"code": code})


def ask_for_reset(client, address=ADDRESS):
    return client.post("/accounts/password/reset/", {"email": address})


def reset_password(client, mail, password=NEW_PASSWORD):
    """Open the link of the mail and choose a password."""
    form = client.get(link_in(mail)).url
    return client.post(form, {"password1": password, "password2": password})


def reauthenticate(client, password=PASSWORD, then=""):
    return client.post("/accounts/reauthenticate/", {"password": password, "next": then})


def is_signed_in(client):
    """Whether the session is signed in."""
    return client.get("/accounts/password/change/").status_code == 200
