"""Partitions that come or fall silent, and the producer that is replaced for it: no other partition waits for long."""

import pytest
from kafka.errors import KafkaTimeoutError

from tests.delivery.rig import Rig
from tests.servers import wait_until
from traptor.delivery import broker, kafka_door, route


@pytest.mark.parametrize("expired", [1, 2])
def test_a_producer_that_falls_silent_when_something_has_expired_is_replaced(rig: Rig, expired: int) -> None:
    """kafka-python forgets what it was about to send to other partitions when it lets something expire."""
    doubtful = rig.producer
    rig.send("1", "2")
    doubtful.fail(KafkaTimeoutError("expired"), expired)
    rig.passes(0.1)
    rig.passes(kafka_door.RETRY_SECONDS)
    assert rig.door.producer is doubtful
    rig.passes(route.DOUBT_SECONDS + 0.1)
    rig.wait_for_producer()
    assert rig.producer is not doubtful
    rig.passes(0.1)
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert sorted(rig.arrived) == [b"1", b"2"]


def test_one_that_goes_on_when_something_has_expired_is_kept(rig: Rig) -> None:
    kept = rig.producer
    rig.send("1", "2")
    kept.fail(KafkaTimeoutError("expired"), 1)
    rig.passes(0.1)
    kept.acknowledge()
    rig.passes(route.DOUBT_SECONDS)
    rig.passes(0.1)
    kept.acknowledge()
    rig.passes(route.DOUBT_SECONDS)
    assert (rig.arrived, rig.door.producer) == ([b"2", b"1"], kept)


def test_partitions_that_are_added_are_noticed(rig: Rig) -> None:
    kept = rig.producer
    kept.partitions_for = lambda topic: {0, 1, 2}  # type: ignore[attr-defined]
    main = rig.door._main
    assert len(main.lanes) == 2
    rig.passes(broker.COUNT_SECONDS)
    wait_until(lambda: main.broker.partitions == 3, "three partitions", 10)
    rig.send("1", "2")
    rig.passes(0.1)
    assert len(main.lanes) == 4
    rig.producer.acknowledge()
    rig.passes(0.1)
    assert (rig.arrived, rig.door.producer) == ([b"1", b"2"], kept)


def test_partitions_that_are_added_wait_for_no_silent_one(rig: Rig) -> None:
    silent = rig.producer
    rig.send("1")
    silent.partitions_for = lambda topic: {0, 1}  # type: ignore[attr-defined]
    rig.passes(broker.COUNT_SECONDS)
    wait_until(lambda: rig.door._main.broker.partitions == 2 or rig.producer is not silent, "two partitions", 10)
    rig.passes(0.1)
    rig.wait_for_producer()
    assert rig.producer is not silent
    rig.passes(0.1)
    assert [answer.key for answer in rig.producer.pending] == [b"1"]
