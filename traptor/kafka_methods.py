"""The methods of the original that set Kafka up, which people call and replace.

A Traptor has them all. What goes to Kafka passes through ``delivery.kafka_door``, which asks here for its producers.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from traptor import folders, kafka_options
from traptor.account import metrics
from traptor.account.ledger import Account
from traptor.account.vitals import Vitals
from traptor.delivery.spool import Message, Spool, file_name
from traptor.delivery.standard_output import StandardOutput
from traptor.settings import SettingError, Settings

if TYPE_CHECKING:
    from traptor.delivery.kafka_door import Kafka


class KafkaMethods:
    """What they need of the Traptor whose methods they are."""

    settings: Settings
    test: bool
    traptor_type: str
    traptor_id: int
    kafka_enabled: bool
    kafka_hosts: str
    kafka_topic: str
    account: Account
    output: Any
    _vitals: Vitals
    _latency: metrics.Latency
    _door: Any

    @property
    def kafka_conn(self) -> Any:
        """The producer; None while there is none."""
        return getattr(self._door, "producer", None)

    @kafka_conn.setter
    def kafka_conn(self, producer: Any) -> None:
        if isinstance(self._door, StandardOutput):
            self._door = self._make_kafka_door()
        self._door.producer = producer

    def _setup_kafka(self) -> None:
        """Set up the door: Kafka, looked for in the background until it is there, or standard output."""
        if not self.kafka_enabled or self.test:
            self._door = StandardOutput(self.account.counts, self.output)
        else:
            from traptor.delivery import producers  # here and below, since Kafka's client takes its time to import

            options = self.settings.KAFKA_OPTIONS or {}
            producers.check(options, self.settings.KAFKA_CLIENT)
            self._vitals.accept(kafka_options.risks(options))
            self._door = self._make_kafka_door()
            if told := folders.forbidden(self._door.spool.path, self.settings.sources):
                raise SettingError(f"SPOOL_DIR: {told}")
            folders.tell(self._door.spool.path, self.settings.sources)
            self._door.open()
        self._vitals.door = self._door

    def _make_kafka_door(self) -> "Kafka":
        from traptor.delivery import producers
        from traptor.delivery.kafka_door import Kafka

        path = Path(self.settings.SPOOL_DIR) / file_name(self.traptor_type, self.traptor_id)
        return Kafka(
            self._make_producer,
            Spool(path, self.settings.SPOOL_MAX_BYTES),
            self.account.counts,
            self._acknowledged,
            connect_cautiously=partial(producers.cautiously, self._make_producer),
            topic=self.kafka_topic,
        )

    def _make_producer(self) -> Any:
        """What ``_create_kafka_producer`` returns or, as the original's did, sets as ``kafka_conn``."""
        producer = self._create_kafka_producer() or self.kafka_conn
        if producer is None:
            raise TypeError("_create_kafka_producer neither returned a producer nor set kafka_conn")
        return producer

    def _create_kafka_producer(self) -> Any:
        """Create the Kafka producer. Raises kafka.errors.KafkaError where no broker answers."""
        from traptor.delivery import producers

        options = self.settings.KAFKA_OPTIONS or {}
        return producers.connect(self.kafka_hosts, self.kafka_topic, options, client=self.settings.KAFKA_CLIENT)

    def _acknowledged(self, delivered: Sequence[Message], now: float) -> None:
        """Kafka has them."""
        tweet_ids = [message.key for message in delivered if message.key and message.topic == self.kafka_topic]
        self._latency.observe(tweet_ids, now)
