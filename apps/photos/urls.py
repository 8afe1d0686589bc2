from django.urls import path

from apps.photos import views

app_name = "photos"
urlpatterns = [
    path("", views.photo_list, name="list"),
    path("sign/", views.photo_sign, name="sign"),
    path("<uuid:pk>/", views.photo_detail, name="detail"),
    path("<uuid:pk>/delete/", views.photo_delete, name="delete"),
]
