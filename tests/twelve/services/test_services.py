"""What the settings make of the variables that attach a backing service."""

import ssl

import pytest

from tests.twelve.attached import attach, complaints, settings, without
from tests.twelve.processes import GOOD, run
from twelve.env import Env
from twelve.services import cache, database, queue, tls

CA = "/ca.pem"
POSTGRES = "postgres://user:hunter2@db.example.com:5432/site"
MYSQL = "mysql://user:hunter2@db.example.com:3306/site"
LIMITS = database.Limits(connect=2, statement=7, lock=8, idle=9)


def policy(verify):
    """The TLS policy of all protocols."""
    return tls.Policies(*[tls.Policy(verify, CA)] * 5)


def refusal(**variables):
    """All that is said of a config that is right but for these variables."""
    found = complaints(GOOD | variables)
    assert found
    return "\n".join(found.values())


# -- Which variable is taken ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("variables", "taken"),
    [
        ({"CLOUDAMQP_URL": "amqps://u:p@a/v", "REDIS_URL": "redis://b"}, "amqps://u:p@a/v"),
        ({"REDIS_URL": "rediss://:p@b:6380"}, "rediss://:p@b:6380"),
        ({"CELERY_BROKER_URL": "redis://mine", "REDIS_URL": "redis://b"}, "redis://mine"),
    ],
)
def test_the_queue_of_an_add_on(variables, taken):
    attached = attach(without("CELERY_BROKER_URL") | variables)
    assert (attached.CELERY["broker_url"], attached.env.problems) == (taken, [])


def test_one_redis_serves_cache_and_queue_and_the_table_says_so():
    url = "redis://:pass-word@host:6379/0"
    result = run(("python", "manage.py", "env"), **without("CELERY_BROKER_URL"), REDIS_URL=url)
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
def test_a_database_at_a_public_name_is_spoken_to_in_verified_tls(url, verify, mode):
    options = database.parse_url(url, LIMITS, tls.Policy(verify, CA))["OPTIONS"]
    assert options["sslmode"] == mode
    assert options.get("sslrootcert") == (CA if mode == "verify-full" else None)


@pytest.mark.parametrize("mode", ["allow", "prefer"])
def test_tls_by_chance_is_refused(mode):
    with pytest.raises(ValueError, match=f"sslmode={mode}, which may mean no TLS"):
        database.parse_url(f"{POSTGRES}?sslmode={mode}")


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
    assert database.mysql(host, query, LIMITS, tls.Policy(verify, CA)).items() >= options.items()


@pytest.mark.parametrize("query", [{"ssl-mode": "PREFERRED"}, {"sslmode": "require"}])
def test_mysql_refuses_tls_by_chance_and_the_words_of_postgresql(query):
    with pytest.raises(ValueError, match=r"ssl-?mode"):
        database.mysql("db.example.com", query, LIMITS, tls.Policy(True, CA))


@pytest.mark.parametrize("name", ["host", "read_default_file", "read_default_group"])
def test_mysql_refuses_another_host_in_the_query(name):
    with pytest.raises(ValueError, match=f"has {name}, which can lead to another host"):
        database.mysql("localhost", {name: "db.example.com"}, LIMITS, tls.Policy(True, CA))


def test_cache_and_queue_on_one_redis_have_one_policy():
    url = "rediss://:password@host:6380"
    strict, lax = policy(True), policy(False)
    verified = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, "ssl_ca_certs": CA}
    assert cache.parse_url(url, strict.redis)["OPTIONS"].items() >= verified.items()
    assert queue.parse_url(url, strict)[2] == verified
    found = cache.parse_url(url, lax.redis)["OPTIONS"]["ssl_cert_reqs"], queue.parse_url(url, lax)[2]["ssl_cert_reqs"]
    assert found == ("none", "none")
    assert queue.parse_url("redis://host", lax)[2] is None


def test_rabbitmq_is_asked_for_a_certificate_of_its_name():
    assert queue.parse_url("amqps://u:p@rabbit.example.com/v", policy(True))[2] == {
        "cert_reqs": ssl.CERT_REQUIRED,
        "ca_certs": CA,
        "server_hostname": "rabbit.example.com",
    }
    assert queue.parse_url("amqps://u:p@rabbit.example.com/v", policy(False))[2] == {"cert_reqs": ssl.CERT_NONE}


@pytest.mark.parametrize("name", ["CACHE_URL", "CELERY_BROKER_URL"])
@pytest.mark.parametrize("query", ["ssl_cert_reqs=none", "ssl%5Fcert_reqs=none", "ssl=true"])
def test_a_url_cannot_weaken_the_policy(name, query):
    assert f"{name} has parameters of TLS" in refusal(**{name: f"rediss://host?{query}"})


def test_the_scheme_of_a_cache_may_have_capitals():
    assert settings(CACHE_URL="REDIS://Host/1").CACHES["default"]["LOCATION"] == "redis://Host/1"


def test_an_authority_that_is_none_is_reported_at_once(tmp_path):
    (tmp_path / "empty.pem").write_text("no certificate")
    for name in ("none.pem", "empty.pem"):
        assert "not a PEM file of certificates" in refusal(TLS_CA_FILE=str(tmp_path / name))


def test_tls_unverified_names_the_servers_whose_certificate_is_not_checked():
    policies = tls.from_environment(Env({"TLS_UNVERIFIED": "database, redis"}))
    assert [policy.verify for policy in policies] == [False, False, True, True, True]
    assert "it may name database, redis, rabbitmq, mail, s3" in refusal(TLS_UNVERIFIED="databse")


# -- Timeouts, poolers and the rest -----------------------------------------------------------------------------------


def test_timeouts_are_start_up_parameters_but_not_through_a_pooler():
    def options(**variables):
        databases = attach(GOOD | {"DATABASE_URL": POSTGRES} | variables, **limits).DATABASES
        return {name: [d["OPTIONS"].get("options"), d["DISABLE_SERVER_SIDE_CURSORS"]] for name, d in databases.items()}

    limits = {"statement_timeout": 7, "lock_timeout": 8, "idle_timeout": 9}
    given = "-c statement_timeout=7s -c lock_timeout=8s -c idle_in_transaction_session_timeout=9s"
    assert options() == {"default": [given, False]}
    assert options(DIRECT_DATABASE_URL=POSTGRES) == {"default": [None, True], "direct": [given, False]}


def test_the_urls_own_start_up_parameters_stay():
    url = f"{POSTGRES}?options=-c%20search_path%3Dshop"
    assert database.parse_url(url)["OPTIONS"]["options"].endswith("60s -c search_path=shop")


@pytest.fixture
def mysqlclient(monkeypatch):
    """The settings find it, be it installed or not."""
    monkeypatch.setattr(database, "find_spec", lambda name: True)


def test_mysqls_client_and_server_have_the_limits(mysqlclient):
    options = database.mysql("db", {}, LIMITS, tls.Policy(True, CA))
    assert (options["connect_timeout"], options["read_timeout"], options["write_timeout"]) == (2, 12, 30)
    without = database.mysql("db", {}, LIMITS._replace(statement=0), tls.Policy(True, CA))
    assert without["read_timeout"] == 3605  # never is an hour: the client may know no better
    assert options["init_command"].startswith(
        "SET SESSION innodb_lock_wait_timeout=8 /*M!100101 , max_statement_time=7"
    )


def test_mysqls_client_takes_the_port_of_localhost(mysqlclient):
    assert database.parse_url("mysql://u:p@localhost:3307/site")["HOST"] == "127.0.0.1"


def test_the_parameter_of_an_add_on_that_the_driver_does_not_know_is_left_out(mysqlclient):
    assert "reconnect" not in database.parse_url(f"{MYSQL}?reconnect=true")["OPTIONS"]


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("CACHE_URL", "memcached://user:hunter2@host:11211", "takes no user"),
        ("CACHE_URL", "memcached://host", "is not memcached://host:port"),
        ("CACHE_URL", "memcached://host:11211?x=1", "is not memcached://host:port"),
        ("DATABASE_URL", f"{POSTGRES}?pool=true", "pgbouncer"),
        ("DATABASE_URL", f"{POSTGRES}?sslmode=prefer", "may mean no TLS"),
        ("DATABASE_URL", "postgres:///site?service=site", "write the host in the URL"),
        ("DIRECT_DATABASE_URL", "redis://host", "scheme 'redis'"),
        ("REDIS_URL", "nonsense", "is not a URL"),
        ("CELERY_BROKER_URL", "redis://:hunter2@host/name", "not the number of a database"),
        ("CELERY_BROKER_URL", "filesystem://var/broker", "three slashes"),
        ("EMAIL_URL", "smtp://u:hunter2@host:587?tls=true", "the scheme selects TLS"),
        ("EMAIL_URL", "smtp+tls://user@host:587", "without the other"),
    ],
)
def test_what_cannot_work_is_reported_at_once(name, value, words):
    complaint = refusal(**{name: value})
    assert name in complaint
    assert words in complaint
    assert "hunter2" not in complaint


def test_a_wrong_fallback_is_named_by_its_own_name():
    assert set(complaints(without("CELERY_BROKER_URL") | {"CLOUDAMQP_URL": "nonsense"})) == {"CLOUDAMQP_URL"}
