import re

import pytest
from django.core.files.storage import default_storage
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse

from apps.photos.models import Photo
from apps.users.models import User
from tests.photos.pictures import exif, picture
from tests.twelve.kit import DurableBackend, TaskRecord
from twelve.services.storage import delete_media

LIST = "/photos/"


def address(name, photo):
    return reverse(f"photos:{name}", args=[photo.pk])


def signed_in(email="eve@example.com", **rights):
    client = Client()
    client.force_login(User.objects.create_user(email, **rights))
    return client


def make_rows(owner, count):
    return Photo.objects.bulk_create(
        Photo(owner=owner, filename=f"{number}.jpg", size=1, width=4, height=3, original="-", state=Photo.State.READY)
        for number in range(count)
    )


def test_every_page_asks_a_stranger_to_sign_in(ready):
    photo, stranger = ready(), Client()
    for url in (LIST, address("detail", photo), address("delete", photo)):
        for method in (stranger.get, stranger.post):
            response = method(url)
            assert (response.status_code, response.url.partition("?")[0]) == (302, reverse("account_login"))
    assert Photo.objects.exists()


@pytest.mark.parametrize("rights", [{}, {"is_staff": True, "is_superuser": True}])
def test_only_the_owner_sees_downloads_or_deletes_a_photo(ready, stored, rights):
    photo = ready(name="secret.jpg")
    before, other = stored(), signed_in(**rights)
    assert "secret.jpg" not in other.get(LIST).text
    for url in (address("detail", photo), address("delete", photo)):
        assert other.get(url).status_code == 404
    assert other.post(address("delete", photo)).status_code == 404
    assert Photo.objects.filter(pk=photo.pk).exists()
    assert stored() == before


def test_two_owners_each_see_their_own(ready, upload, client):
    ready(name="adas.jpg")
    eve = signed_in()
    upload("eves.jpg", picture(), client=eve)
    pages = client.get(LIST).text, eve.get(LIST).text
    assert [("adas.jpg" in page, "eves.jpg" in page) for page in pages] == [(True, False), (False, True)]


def test_a_photo_that_is_not_there_is_a_404(client, db):
    assert client.get(f"{LIST}00000000-0000-4000-8000-000000000000/").status_code == 404
    assert client.get(f"{LIST}1/").status_code == 404


def test_the_empty_list_says_so(client):
    page = client.get(LIST).text
    assert "There are no photos yet." in page
    assert "<img" not in page.partition('id="grid"')[2].partition("</section>")[0]


def test_the_form_takes_a_file_of_the_known_formats(client):
    field = re.search(r"<input[^>]+type=\"file\"[^>]*>", client.get(LIST).text)[0]
    assert "image/jpeg,image/png,image/webp,image/gif" in field


def test_the_list_is_newest_first_and_in_pages_of_24(client, owner):
    make_rows(owner, 25)
    first, second = client.get(LIST), client.get(LIST, {"page": 2})
    assert [photo.filename for photo in first.context["page"]][:2] == ["24.jpg", "23.jpg"]
    assert [photo.filename for photo in second.context["page"]] == ["0.jpg"]
    assert 'href="?page=2"' in first.text
    assert 'href="?page=1"' in second.text
    assert client.get(LIST, {"page": "nonsense"}).status_code == 200


def test_a_full_page_takes_as_many_queries_as_an_empty_one(client, owner, django_assert_max_num_queries):
    make_rows(owner, 24)
    with django_assert_max_num_queries(4):  # session, user, count, photos
        client.get(LIST)


def test_a_ready_photo_is_shown_with_its_rendition(ready, client):
    photo = ready(picture(size=(400, 200), exif=exif(6)))
    page = client.get(LIST).text
    card = re.search(r'<li class="card.*?</li>', page, re.DOTALL)[0]
    assert 'width="160" height="320"' in card
    assert 'alt="holiday.jpg"' in card
    assert 'loading="lazy"' in card
    assert 'class="badge ready"' in card
    for url, pattern in (
        (LIST, r'<img src="(/media/[^"]+)" width="160"'),
        (address("detail", photo), 'src="(/media/[^"]+)"'),
    ):
        link = re.search(pattern, client.get(url).text)[1].replace("&amp;", "&")
        response = Client().get(link)  # the link itself is the permission
        assert (response.status_code, response["Content-Type"]) == (200, "image/webp")
        assert Client().get(link.replace("signature=", "signature=x")).status_code == 404


def test_the_grid_asks_again_only_while_a_photo_waits(uploaded, run_tasks, client):
    photo = uploaded()
    page = client.get(LIST).text
    assert 'hx-get="/photos/?page=1" hx-trigger="every 2s" hx-swap="outerHTML"' in page
    assert "Reload the page" in page  # without JavaScript
    part = client.get(LIST, headers={"HX-Request": "true"}).text.strip()
    assert part.startswith('<section id="grid"')
    assert part.endswith("</section>")
    assert 'hx-trigger="every 2s"' in part
    assert f'id="photo-{photo.pk}-waiting"' in part
    assert "hx-preserve" not in part
    run_tasks()
    for headers in ({}, {"HX-Request": "true"}):
        answer = client.get(LIST, headers=headers).text
        assert "hx-trigger" not in answer
        assert "Reload the page" not in answer
        assert f'id="photo-{photo.pk}-ready" hx-preserve="true"' in answer


def test_the_grid_stops_asking_when_the_photo_failed(uploaded, run_tasks, client):
    uploaded(picture(size=(800, 600))[:-2000])
    run_tasks()
    page = client.get(LIST).text
    assert "hx-trigger" not in page
    assert 'class="badge failed"' in page
    assert "damaged or incomplete" in page


def test_a_waiting_photo_asks_again_on_its_own_page(uploaded, run_tasks, client):
    url = address("detail", uploaded())
    assert f'hx-get="{url}" hx-trigger="every 2s"' in client.get(url).text
    run_tasks()
    part = client.get(url, headers={"HX-Request": "true"}).text.strip()
    assert part.startswith('<article id="photo"')
    assert part.endswith("</article>")
    assert "hx-trigger" not in part


def test_a_part_of_a_page_is_never_kept_for_the_page(uploaded, client):
    uploaded()
    assert "no-store" in client.get(LIST, headers={"HX-Request": "true"})["Cache-Control"]


def test_the_original_is_downloaded_under_its_owners_name(ready, client):
    content = picture(size=(80, 60))
    photo = ready(content, name='Frühling "2026".jpg')
    link = re.search(r'href="(/media/[^"]+)"', client.get(address("detail", photo)).text)[1].replace("&amp;", "&")
    file = Client().get(link)
    assert b"".join(file.streaming_content) == content
    assert file["Content-Disposition"] == "attachment; filename*=utf-8''Fr%C3%BChling%20%222026%22.jpg"
    assert file["Content-Type"] == "image/jpeg"
    assert Client().get(link.replace("attachment", "inline")).status_code == 404


def test_a_photo_is_deleted_only_after_a_confirmation(ready, client, stored, run_tasks):
    photo, other = ready(name="old.jpg"), ready(name="kept.jpg")
    assert "Delete this photo?" in client.get(address("delete", photo)).text
    assert Photo.objects.count() == 2
    response = client.post(address("delete", photo), follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    assert "“old.jpg” is deleted." in response.text
    assert Photo.objects.get() == other
    run_tasks()
    assert stored() == sorted(other.stored_keys())
    assert client.post(address("delete", photo)).status_code == 404


def test_a_deleted_photos_directory_is_gone(ready, client, media, run_tasks):
    photo = ready()
    client.post(address("delete", photo))
    run_tasks()
    assert list((media / "photos").iterdir()) == []


def test_deleting_the_objects_twice_is_harmless(ready, stored):
    photo = ready()
    delete_media(photo.folder)
    delete_media(photo.folder)
    assert stored() == []


@pytest.mark.django_db(transaction=True)
def test_without_its_task_a_photo_is_not_deleted(ready, client, stored, monkeypatch):
    photo = ready()
    before = stored()

    def failing(*arguments, **options):
        raise DatabaseError("the table of tasks is missing")

    monkeypatch.setattr(DurableBackend, "enqueue", failing)
    with pytest.raises(DatabaseError):
        client.post(address("delete", photo))
    assert Photo.objects.filter(pk=photo.pk).exists()
    assert stored() == before


def test_a_deleted_user_takes_the_objects_along(ready, owner, stored, run_tasks):
    ready()
    ready()
    owner.delete()
    run_tasks()
    assert not Photo.objects.exists()
    assert stored() == []


def test_names_are_escaped_on_every_page(uploaded, client):
    photo = uploaded(name="<img src=x onerror=alert(1)>.jpg")
    for url in (LIST, address("detail", photo), address("delete", photo)):
        page = client.get(url).text
        assert "<img src=x" not in page
        assert "&lt;img src=x onerror=alert(1)&gt;.jpg" in page


def test_the_pages_bring_no_inline_script_or_style(ready, uploaded, client):
    photos = [ready(), uploaded()]
    for url in (LIST, *(address(name, photo) for photo in photos for name in ("detail", "delete"))):
        page = client.get(url).text
        assert "<style" not in page
        assert not re.search(r"<[^>]+\s(style|on\w+)=", page)
        assert not re.search(r"<script(?![^>]*\bsrc=)", page)


def test_the_page_of_a_photo_takes_no_post(ready, client):
    assert client.post(address("detail", ready())).status_code == 405


def test_staff_see_every_photo_in_the_admin_and_change_none(ready, stored, run_tasks):
    photo = ready()
    admin = signed_in("staff@example.com", is_staff=True, is_superuser=True)
    url = reverse("admin:photos_photo_change", args=[photo.pk])
    assert "holiday.jpg" in admin.get(reverse("admin:photos_photo_changelist"), {"q": "ada@example"}).text
    page = admin.get(url).text
    assert 'name="_save"' not in page
    links = [link.replace("&amp;", "&") for link in re.findall(r'href="(/media/[^"]+)"', page)]
    assert [Client().get(link)["Content-Type"] for link in links] == ["image/jpeg"]
    assert admin.post(url, {"filename": "changed"}).status_code == 403
    assert admin.get(reverse("admin:photos_photo_add")).status_code == 403
    assert admin.post(reverse("admin:photos_photo_delete", args=[photo.pk]), {"post": "yes"}).status_code == 302
    run_tasks()
    assert stored() == []
    assert not Photo.objects.exists()


def test_staff_see_a_waiting_photo_in_the_admin(uploaded):
    admin = signed_in("staff@example.com", is_staff=True, is_superuser=True)
    page = admin.get(reverse("admin:photos_photo_change", args=[uploaded().pk])).text
    assert len(re.findall(r'href="/media/', page)) == 1


def test_a_deletion_keeps_its_task_in_the_same_transaction(ready, client):
    photo = ready()
    client.post(address("delete", photo))
    record = TaskRecord.objects.get(task="twelve.services.storage.tasks.delete_media")
    assert record.args == [photo.folder]
    assert default_storage.exists(str(photo.original))  # until the task has run
