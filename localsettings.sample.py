"""Copy this to localsettings.py, which git ignores. Every setting of docs/settings.md may stand in it."""

APIKEYS = {
    "CONSUMER_KEY": "",
    "CONSUMER_SECRET": "",
    "ACCESS_TOKEN": "",
    "ACCESS_TOKEN_SECRET": "",
}

TRAPTOR_TYPE = "track"
TRAPTOR_ID = 0

KAFKA_HOSTS = "localhost:9092"
KAFKA_TOPIC = "traptor"

REDIS_HOST = "localhost"
REDIS_PORT = 6379
