"""Which names are taken for settings that were meant, and which for other programs'."""

import pytest

from traptor import settings
from traptor.settings import SettingError


def told(environ: dict[str, str], local: dict[str, object] | None = None) -> dict[str, str]:
    """What was meant by each name that is no setting."""
    return {one.name: one.meant for one in settings.load({}, environ, local or {}).misnomers}


@pytest.mark.parametrize(
    "name,meant",
    [
        ("KAFKA_HOST", "KAFKA_HOSTS"),
        ("KAFKA_TOPICS", "KAFKA_TOPIC"),
        ("TRAPTOR_TYP", "TRAPTOR_TYPE"),
        ("TRAPTOR_ID_", "TRAPTOR_ID"),
        ("REDIS_HSOT", "REDIS_HOST"),
        ("REDIS_HOSTNAME", "REDIS_HOST"),
        ("REDIS_PASSWORD", "REDIS_URL"),
        ("KAFKA_BOOTSTRAP_SERVERS", "KAFKA_HOSTS"),
        ("KAFKA_SASL_MECHANISM", "KAFKA_OPTIONS"),
        ("KAFKA_PORT", "KAFKA_HOSTS"),
        ("TWITTER_CONSUMER_KEY", "CONSUMER_KEY"),
        ("TRAPTOR_LOG_LEVEL", "LOG_LEVEL"),
        ("TWITTER_STREM_URL", "TWITTER_STREAM_URL"),
        ("CONSUMER_SECRETS", "CONSUMER_SECRET"),
        ("ACESS_TOKEN", "ACCESS_TOKEN"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("LOG_FORMAT", "LOG_JSON"),
        ("kafka_hosts", "KAFKA_HOSTS"),
        ("STATS_COLLECTION_WINDOWS", "STATS_COLLECTION_WINDOW"),
        ("SPOOL_DIRECTORY", "SPOOL_DIR"),
        ("TRAPTOR_COLOUR", ""),
        ("REDIS_DB_FILE", "REDIS_DB"),
    ],
)
def test_a_name_that_is_nearly_a_setting_is_told(name: str, meant: str) -> None:
    assert told({name: "x"}) == {name: meant}


@pytest.mark.parametrize(
    "name,value",
    [
        ("PATH", "/bin"), ("HOME", "/root"), ("LANG", "C.UTF-8"), ("LC_ALL", "C"), ("no_proxy", "*"),
        ("KAFKA_OPTS", "-Dx=y"), ("KAFKA_HEAP_OPTS", "-Xmx1G"), ("KAFKA_LOG4J_OPTS", "x"), ("KAFKA_JMX_PORT", "9999"),
        ("KAFKA_HOME", "/opt/kafka"), ("KAFKA_LOG_DIRS", "/data"), ("KAFKA_ADVERTISED_LISTENERS", "PLAINTEXT://h:1"),
        ("KAFKA_CFG_NODE_ID", "1"), ("KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR", "1"),
        ("KAFKA_AUTO_CREATE_TOPICS_ENABLE", "x"), ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
        ("KAFKA_SERVICE_HOST", "10.0.0.1"), ("KAFKA_BROKER_PORT_9092_TCP", "x"),
        ("REDIS_PORT_6379_TCP", "tcp://172.17.0.2:6379"), ("REDIS_PORT_6379_TCP_ADDR", "172.17.0.2"),
        ("REDIS_NAME", "/w/redis"), ("REDIS_ENV_REDIS_VERSION", "8"), ("REDIS_SERVICE_PORT", "6379"),
        ("REDIS_SERVICE_PORT_CLIENT", "6379"), ("REDIS_MASTER_SERVICE_HOST", "h"), ("REDIS_VERSION", "8"),
        ("REDIS_DOWNLOAD_SHA", "x"), ("REDISCLI_AUTH", "x"), ("TRAPTOR_SERVICE_HOST", "h"),
        ("TRAPTOR_PORT", "tcp://10.0.0.1:9100"), ("TRAPTOR_SETTINGS", "/etc"), ("TRAPTOR_HOME", "/opt"),
        ("POSTGRES_PASSWORD", "x"), ("MYSQL_ROOT_PASSWORD", "x"), ("PGPASSWORD", "x"), ("GITHUB_ACCESS_TOKEN", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"), ("SENTRY_DSN", "x"), ("SENTRY_ENVIRONMENT", "x"), ("HF_TOKEN", "x"),
        ("LOGNAME", "x"), ("CONSUMER_KEY_FILE", ""), ("LOG_FILE_NAME", "mine.log"), ("RULES", "x"), ("TOPIC", "x"),
        ("SSH_AUTH_SOCK", "x"),
    ],
)  # fmt: skip
def test_what_other_programs_set_is_left_alone(name: str, value: str) -> None:
    assert told({name: value}) == {}


def test_every_unknown_name_in_capitals_of_localsettings_is_told() -> None:
    local = {
        "KAFKA_TOPIC": "a", "LOG_FILE_NAME": "b", "APIKEYS": {"CONSUMER_KEY": "c", "CONSUMER_TOKEN": "d"}, "os": None,
        "__file__": "/x/localsettings.py", "_MINE": 1, "COLOUR": "blue", "KAFKA_TOPICS": "e", "redis_host": "f",
    }  # fmt: skip
    assert told({}, local) == {
        "COLOUR": "", "KAFKA_TOPICS": "KAFKA_TOPIC", "redis_host": "REDIS_HOST", "CONSUMER_TOKEN": "",
    }  # fmt: skip


def test_it_is_told_in_words() -> None:
    made = settings.load({}, {"KAFKA_HOST": "h"}, {"COLOUR": "blue", "__file__": "/x/localsettings.py"})
    assert list(map(str, made.misnomers)) == [
        "KAFKA_HOST (environment) is no setting and is ignored: did you mean KAFKA_HOSTS?",
        "COLOUR (/x/localsettings.py) is no setting and is ignored",
    ]


@pytest.mark.parametrize("place", ["environ", "local"])
def test_localsettings_can_be_made_strict(place: str) -> None:
    strict: dict[str, str] = {"STRICT_LOCALSETTINGS": "yes"}
    environ, local = (strict, {}) if place == "environ" else ({}, strict)
    settings.load({}, {**environ, "KAFKA_HOST": "only told"}, local)
    with pytest.raises(SettingError, match=r"KAFKA_HOST \(localsettings.py\) is no setting.*KAFKA_HOSTS"):
        settings.load({}, environ, {**local, "KAFKA_HOST": "h"})
