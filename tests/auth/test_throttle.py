"""Failed sign-ins are slowed, by account and by address, and nobody is locked out."""

import os
from dataclasses import dataclass, field

import pytest
from support.storage import refused

from registry_wsgi.auth.throttle import BURST, KNOWN_SECONDS, SLOTS, Moments, Throttle
from registry_wsgi.errors import TOO_MANY_REQUESTS, RegistryError

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.7"


@dataclass
class Time:
    """A clock that a test turns."""

    seconds: float = 5000.0

    def __call__(self) -> float:
        """What time it is."""
        return self.seconds


@dataclass
class Door:
    """A throttle, and sign-ins at it."""

    time: Time = field(default_factory=Time)
    throttle: Throttle = field(init=False)

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.time)

    def wrong(self, name: str = "anna", address: str = HOME, times: int = 1) -> int:
        """Try a wrong password; how many tries were taken before one was refused unlooked at."""
        for taken in range(times):
            if not self.is_open(name, address):
                return taken
            self.throttle.failed(name, address)
        return times

    def is_open(self, name: str = "anna", address: str = HOME) -> bool:
        """Whether a try would be taken."""
        try:
            self.throttle.require(name, address)
        except RegistryError as error:
            if error.row is not TOO_MANY_REQUESTS:
                raise
            return False
        return True


@pytest.fixture
def door() -> Door:
    """Nobody has tried yet."""
    return Door()


def test_twenty_wrong_passwords_are_looked_at(door: Door) -> None:
    """The twenty-first is refused, and told when to come again."""
    assert door.wrong(times=100) == BURST == 20
    with refused(TOO_MANY_REQUESTS) as caught:
        door.throttle.require("anna", HOME)
    assert dict(caught.value.headers) == {"Retry-After": "3"}


@pytest.mark.parametrize(("seconds", "tries"), [(2.9, 0), (3, 1), (9, 3), (60, 20), (3600, 20)])
def test_tries_come_back_with_time(door: Door, seconds: float, tries: int) -> None:
    """One every three seconds, twenty a minute, and never more than twenty."""
    door.wrong(times=BURST)
    door.time.seconds += seconds

    assert door.wrong(times=100) == tries


def test_to_wait_as_long_as_told_is_enough(door: Door) -> None:
    """After ``Retry-After`` a try is taken: nobody is locked out."""
    door.wrong(times=BURST)
    for _ in range(5):
        with refused(TOO_MANY_REQUESTS) as caught:
            door.throttle.require("anna", HOME)
        door.time.seconds += int(dict(caught.value.headers)["Retry-After"])

        assert door.wrong(times=100) == 1


def test_refused_tries_do_not_count(door: Door) -> None:
    """Whoever goes on trying is not kept out for longer."""
    door.wrong(times=BURST)
    for _ in range(1000):
        assert not door.is_open()
    door.time.seconds += 3

    assert door.is_open()


def test_an_account_is_slowed_from_everywhere(door: Door) -> None:
    """Guesses of one password from many addresses are slowed together."""
    for number in range(BURST):
        door.wrong("anna", f"192.0.2.{number}")

    assert not door.is_open("anna", "192.0.2.200")
    assert door.is_open("berta", "192.0.2.200")


def test_an_address_is_slowed_for_all_accounts(door: Door) -> None:
    """One guess at each of many accounts from one address is slowed, known or not."""
    for number in range(BURST):
        door.wrong(f"user{number}", ELSEWHERE)

    assert not door.is_open("anna", ELSEWHERE)
    assert door.is_open("anna", HOME)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:2", True, id="one network of IPv6"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", False, id="two networks of IPv6"),
        pytest.param("::1", "::2", True, id="small numbers"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="two addresses of IPv4"),
        pytest.param("", "", True, id="a unix socket"),
    ],
)
def test_a_network_of_ipv6_is_one_address(door: Door, first: str, second: str, same: bool) -> None:
    """Whoever has a /64, as every customer does, cannot try from each address of it anew."""
    for number in range(BURST):
        door.wrong(f"user{number}", first)

    assert door.is_open("anna", second) is not same


def test_guesses_from_elsewhere_do_not_keep_the_owner_out(door: Door) -> None:
    """Where an account has signed in before, it signs in while others guess at it."""
    door.throttle.succeeded("anna", HOME)
    door.wrong("anna", ELSEWHERE, BURST)

    assert not door.is_open("anna", ELSEWHERE)
    assert door.is_open("anna", HOME)


def test_a_neighbour_that_guesses_does_not_keep_the_others_out(door: Door) -> None:
    """Behind one address, a job with a wrong password does not slow those that signed in before."""
    door.throttle.succeeded("anna", HOME)
    door.wrong("ci", HOME, BURST)

    assert not door.is_open("ci", HOME)
    assert not door.is_open("berta", HOME)
    assert door.is_open("anna", HOME)


def test_a_known_account_is_slowed_as_well(door: Door) -> None:
    """Where it has signed in before, too, twenty wrong passwords are looked at and no more."""
    door.throttle.succeeded("anna", HOME)

    assert door.wrong("anna", HOME, 100) == BURST


def test_an_account_is_known_for_a_week(door: Door) -> None:
    """After that it shares the bucket of its account again."""
    door.throttle.succeeded("anna", HOME)
    door.time.seconds += KNOWN_SECONDS + 1
    door.wrong("anna", ELSEWHERE, BURST)

    assert not door.is_open("anna", HOME)


def test_all_processes_count_together(door: Door) -> None:
    """What a forked worker counts, its siblings know; and it ends with them."""
    pid = os.fork()
    if not pid:
        os._exit(door.wrong(times=15))
    taken = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert taken == 15
    assert door.wrong(times=100) == BURST - 15


def test_memory_does_not_grow(door: Door) -> None:
    """Whatever is tried, it takes no more room, and accounts are still told apart."""
    for number in range(2000):
        door.throttle.failed(f"user{number}", f"10.0.{number % 256}.{number // 256}")

    assert door.throttle._full._memory.nbytes == 2 * SLOTS * 8
    assert door.wrong("anna", HOME, 100) >= BURST - 1


def test_a_moment_is_kept_until_a_later_one() -> None:
    """Each key has its own, 0 at first."""
    moments = Moments()
    moments.put("a", 5.0)
    moments.put("a", 3.0)
    moments.put("b", 7.0)

    assert [moments.get(key) for key in ("a", "b", "c")] == [5.0, 7.0, 0.0]
