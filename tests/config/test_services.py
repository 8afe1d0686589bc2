"""What the settings make of the variables that attach a backing service."""

import json
import ssl

import pytest

from config import databases
from config.settings import cache, database, tasks, tls
from tests.processes import GOOD, named, run, told

CA = "/ca.pem"
SHOW = "import json; from config.env import env; from config import settings; env.exit_on_problems('worker'); "
POSTGRES = "postgres://user:hunter2@db.example.com:5432/site"
MYSQL = "mysql://user:hunter2@db.example.com:3306/site"
LIMITS = databases.Limits(connect=2, statement=7, lock=8, idle=9)


@pytest.fixture
def policy(monkeypatch):
    """Set the TLS policy of all protocols."""

    def make(verify):
        for module, name in ((database, "DATABASE_TLS"), (tls, "REDIS_TLS"), (tls, "AMQP_TLS")):
            monkeypatch.setattr(module, name, tls.Policy(verify, CA))

    make(True)
    return make


def settings(expression, **variables):
    """What a process makes of the variables: the value of an expression."""
    result = run(("python", "-c", f"{SHOW} print(json.dumps({expression}))"), **GOOD | variables)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def refusal(**variables):
    """The complaint of a process that was given these variables."""
    result = run(("python", "-c", SHOW), **GOOD | variables)
    assert result.returncode == 1
    return told(result)


# -- Which variable is taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "taken"),
    [
        ({"CLOUDAMQP_URL": "amqps://u:p@a/v", "REDIS_URL": "redis://b"}, "amqps://u:p@a/v"),
        ({"RABBITMQ_URL": "amqp://u:p@c/v", "REDIS_URL": "redis://b"}, "amqp://u:p@c/v"),
        ({"REDIS_URL": "rediss://:p@b:6380"}, "rediss://:p@b:6380"),
        ({"CELERY_BROKER_URL": "redis://mine", "REDIS_URL": "redis://b"}, "redis://mine"),
    ],
)
def test_the_queue_of_an_add_on(variables, taken):
    without = {name: value for name, value in GOOD.items() if name != "CELERY_BROKER_URL"}
    result = run(("python", "-c", f"{SHOW} print(settings.CELERY_BROKER_URL)"), **without, **variables)
    assert result.stdout.strip() == taken, result.stderr


@pytest.mark.parametrize(
    ("variables", "options"),
    [
        (
            {"SENDGRID_API_KEY": "SG.a/b+c"},
            {"host": "smtp.sendgrid.net", "port": 587, "username": "apikey", "password": "SG.a/b+c"},
        ),
        (
            {"MAILGUN_SMTP_LOGIN": "postmaster@site.mailgun.org", "MAILGUN_SMTP_PASSWORD": "p@:/"},
            {
                "host": "smtp.mailgun.org",
                "port": 587,
                "username": "postmaster@site.mailgun.org",
                "password": "p@:/",
            },
        ),
        (
            {"POSTMARK_API_TOKEN": "token-1", "POSTMARK_SMTP_SERVER": "smtp.example.com"},
            {"host": "smtp.example.com", "port": 587, "username": "token-1", "password": "token-1"},
        ),
    ],
)
def test_the_mail_of_an_add_on(variables, options):
    without = {name: value for name, value in GOOD.items() if name != "EMAIL_URL"}
    expression = "{n: v for n, v in settings.MAILERS['delivery']['OPTIONS'].items() if n != 'tls'}"
    result = run(("python", "-c", f"{SHOW} print(json.dumps({expression}))"), **without, **variables)
    assert json.loads(result.stdout) == options | {"use_tls": True, "use_ssl": False, "timeout": 10}


def test_one_redis_serves_cache_and_queue_and_the_table_says_so():
    variables = {"REDIS_URL": "redis://:pass-word@host:6379/0", "CELERY_BROKER_URL": ""}
    without = {name: value for name, value in GOOD.items() if name != "CELERY_BROKER_URL"}
    result = run(("python", "manage.py", "env"), **without, REDIS_URL=variables["REDIS_URL"])
    rows = {line.split()[0]: line for line in result.stdout.splitlines()}
    for name in ("CACHE_URL", "CELERY_BROKER_URL"):
        assert "redis://***@host:6379/0" in rows[name]
        assert " REDIS_URL " in rows[name]
    assert "pass-word" not in result.stdout


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "verify", "mode"),
    [
        (POSTGRES, True, "verify-full"),
        (POSTGRES, False, "require"),
        (f"{POSTGRES}?sslmode=require", True, "verify-full"),
        (f"{POSTGRES}?sslmode=disable", True, "disable"),
        ("postgres://localhost/site", True, "disable"),
        ("postgres://localhost/site?sslmode=require", True, "verify-full"),
        ("postgres://db/site", True, "disable"),
        ("postgres://10.1.2.3/site", True, "disable"),
        ("postgres://[fdaa::3]/site", True, "disable"),
        ("postgres://8.8.8.8/site", True, "verify-full"),
        ("postgres://site.railway.internal/site", True, "disable"),
        ("postgres://%2Fvar%2Frun%2Fpostgresql.d/site", True, "disable"),
        ("postgres://u:p@/site?host=db.example.com", True, "verify-full"),
        ("postgres://u:p@/site?host=/var/run/postgresql", True, "disable"),
        ("postgres://db/site?hostaddr=8.8.8.8", True, "verify-full"),
        ("postgres://db.example.com/site?hostaddr=10.1.2.3", True, "disable"),
        ("postgres://db.example.com,db.internal/site", True, "verify-full"),
    ],
)
def test_a_database_at_a_public_name_is_spoken_to_in_verified_tls(policy, url, verify, mode):
    policy(verify)
    options = database.parse_database(url, pooled=False)["OPTIONS"]
    assert options["sslmode"] == mode
    assert options.get("sslrootcert") == (CA if mode == "verify-full" else None)


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_tls_by_chance_is_refused(mode):
    with pytest.raises(ValueError, match=f"sslmode={mode}, which may mean no TLS"):
        database.parse_database(f"{POSTGRES}?sslmode={mode}", pooled=False)


@pytest.mark.parametrize(
    ("host", "query", "verify", "options"),
    [
        ("db.example.com", {}, True, {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": CA}}),
        ("db.example.com", {}, False, {"ssl_mode": "REQUIRED"}),
        ("db.example.com", {"ssl-mode": "DISABLED"}, True, {"ssl_mode": "DISABLED"}),
        ("db", {}, True, {"ssl_mode": "DISABLED"}),
        ("db", {"ssl-mode": "required"}, True, {"ssl_mode": "VERIFY_IDENTITY", "ssl": {"ca": CA}}),
    ],
)
def test_mysql_has_the_same_policy(host, query, verify, options):
    assert databases.mysql(host, query, LIMITS, tls.Policy(verify, CA)).items() >= options.items()


@pytest.mark.parametrize("query", [{"ssl-mode": "PREFERRED"}, {"sslmode": "require"}])
def test_mysql_refuses_tls_by_chance_and_the_words_of_postgresql(query):
    with pytest.raises(ValueError, match=r"ssl-?mode"):
        databases.mysql("db.example.com", query, LIMITS, tls.Policy(True, CA))


@pytest.mark.parametrize("name", ["host", "read_default_file", "read_default_group"])
def test_mysql_refuses_another_host_in_the_query(name):
    with pytest.raises(ValueError, match=f"has {name}, which can lead to another host"):
        databases.mysql("localhost", {name: "db.example.com"}, LIMITS, tls.Policy(True, CA))


def test_cache_and_queue_on_one_redis_have_one_policy(policy):
    url = "rediss://:password@host:6380"
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": CA}
    assert cache.parse(url)["OPTIONS"].items() >= verified.items()
    assert tasks.parse(url)[2] == verified
    policy(False)
    assert cache.parse(url)["OPTIONS"]["ssl_cert_reqs"] == tasks.parse(url)[2]["ssl_cert_reqs"] == "none"
    assert tasks.parse("redis://host")[2] is None


def test_rabbitmq_is_asked_for_a_certificate_of_its_name(policy):
    assert tasks.parse("amqps://u:p@rabbit.example.com/v")[2] == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": CA,
        "server_hostname": "rabbit.example.com",
    }
    policy(False)
    assert tasks.parse("amqps://u:p@rabbit.example.com/v")[2] == {"cert_reqs": ssl.CERT_NONE}


@pytest.mark.parametrize("name", ["CACHE_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl%5Fcert_reqs=none", "ssl=true"])
def test_a_url_cannot_weaken_the_policy(name, query):
    assert f"{name} says how TLS is verified" in refusal(**{name: f"rediss://host?{query}"})


def test_a_session_is_cached_no_longer_than_a_lost_deletion_may_live():
    assert settings("settings.CACHES[settings.SESSION_CACHE_ALIAS]['LONGEST']", CACHE_URL="redis://host") == 300
    assert settings("settings.CACHES['default']['LOCATION']", CACHE_URL="REDIS://Host/1") == "redis://Host/1"


def test_an_authority_that_is_none_is_told_at_once(tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    complaint = refusal(DATABASE_TLS_CA=str(tmp_path / "none.pem"), EMAIL_TLS_CA=str(tmp_path / "empty.pem"))
    assert complaint.count("not a PEM file of certificates") == 2


# -- Timeouts, poolers and the rest -----------------------------------------------------------------------------------


def test_timeouts_are_start_up_parameters_but_not_through_a_pooler():
    expression = (
        "{n: [d['OPTIONS'].get('options'), d['DISABLE_SERVER_SIDE_CURSORS']] for n, d in settings.DATABASES.items()}"
    )
    limits = {"DATABASE_STATEMENT_TIMEOUT": "7", "DATABASE_LOCK_TIMEOUT": "8", "DATABASE_IDLE_TIMEOUT": "9"}
    given = "-c statement_timeout=7s -c lock_timeout=8s -c idle_in_transaction_session_timeout=9s"
    assert settings(expression, DATABASE_URL=POSTGRES, **limits) == {"default": [given, False]}
    both = settings(expression, DATABASE_URL=POSTGRES, DIRECT_DATABASE_URL=POSTGRES, **limits)
    assert both == {"default": [None, True], "direct": [given, False]}


def test_the_urls_own_start_up_parameters_stay():
    url = f"{POSTGRES}?options=-c%20search_path%3Dshop"
    assert database.parse_database(url, pooled=False)["OPTIONS"]["options"].endswith("60s -c search_path=shop")


def test_a_pool_keeps_the_connections_itself():
    expression = "[settings.DATABASES['default']['CONN_MAX_AGE'], settings.DATABASES['default']['OPTIONS']['pool']]"
    pool = {"min_size": 0, "max_size": 5, "timeout": 4, "reconnect_timeout": 0}
    assert settings(expression, DATABASE_URL=POSTGRES, DATABASE_POOL_SIZE="5") == [0, pool]


@pytest.fixture
def mysqlclient(monkeypatch):
    """The settings find it, be it installed or not."""
    monkeypatch.setattr(databases, "find_spec", lambda name: True)


def test_mysqls_client_and_server_have_the_limits(mysqlclient):
    options = databases.mysql("db", {}, LIMITS, tls.Policy(True, CA))
    assert (options["connect_timeout"], options["read_timeout"], options["write_timeout"]) == (2, 12, 30)
    without = databases.mysql("db", {}, LIMITS._replace(statement=0), tls.Policy(True, CA))
    assert without["read_timeout"] == 3605  # never is an hour: the client may know no better
    assert options["init_command"].startswith(
        "SET SESSION innodb_lock_wait_timeout=8 /*M!100101 , max_statement_time=7"
    )


def test_mysqls_client_takes_the_port_of_localhost(mysqlclient):
    assert database.parse_database("mysql://u:p@localhost:3307/site", pooled=False)["HOST"] == "127.0.0.1"


def test_the_parameter_of_an_add_on_that_the_driver_does_not_know_is_left_out(mysqlclient):
    assert "reconnect" not in database.parse_database(f"{MYSQL}?reconnect=true", pooled=False)["OPTIONS"]


def test_the_way_past_the_pooler_leads_to_a_database_of_the_same_kind(mysqlclient, monkeypatch):
    monkeypatch.setattr(database, "_direct", database.parse_database(MYSQL, pooled=False))
    with pytest.raises(ValueError, match="is another kind of database than DIRECT_DATABASE_URL"):
        database.parse_default(POSTGRES)


@pytest.mark.parametrize(
    ("variables", "engine"),
    [
        ({}, "db"),
        ({"CACHE_URL": "locmemcache://"}, "db"),
        ({"CACHE_URL": "redis://host"}, "cached_db"),
        ({"REDIS_URL": "redis://host"}, "cached_db"),
        ({"CACHE_URL": "memcached://host:11211"}, "cached_db"),
    ],
)
def test_a_cache_in_front_of_the_sessions_where_it_saves_a_query(variables, engine):
    assert settings("settings.SESSION_ENGINE", **variables) == f"django.contrib.sessions.backends.{engine}"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CACHE_URL", "memcached://user:hunter2@host:11211", "takes no user"),
        ("CACHE_URL", "memcached://host", "is not memcached://host:port"),
        ("CACHE_URL", "memcached://host:11211?x=1", "is not memcached://host:port"),
        ("CACHE_KEY_PREFIX", "a*", "other characters"),
        ("DATABASE_URL", f"{POSTGRES}?pool=true", "DATABASE_POOL_SIZE"),
        ("DATABASE_URL", f"{POSTGRES}?sslmode=prefer", "may mean no TLS"),
        ("DATABASE_URL", "postgres:///site?service=site", "write the host in the URL"),
        ("DIRECT_DATABASE_URL", "redis://host", "scheme 'redis'"),
        ("DIRECT_DATABASE_URL", POSTGRES, "DATABASE_URL is another kind of database"),
        ("REDIS_URL", "nonsense", "is not a URL"),
        ("EMAIL_URL", "smtp://u:hunter2@host:587?tls=true", "TLS is said by the scheme"),
        ("EMAIL_URL", "smtp+tls://user@host:587", "without the other"),
    ],
)
def test_what_cannot_work_is_told_at_once(name, value, words):
    complaint = refusal(**{name: value})
    assert name in complaint
    assert words in complaint
    assert "hunter2" not in complaint


def test_a_wrong_fallback_is_named_by_its_own_name():
    without = {name: value for name, value in GOOD.items() if name != "CELERY_BROKER_URL"}
    assert named(run(("python", "-c", SHOW), **without, CLOUDAMQP_URL="nonsense")) == {"CLOUDAMQP_URL"}
