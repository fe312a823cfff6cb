"""Ctrl-C and SIGTERM: the first is a request, the second ends the process, also inside a library's call."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ccd_cli.core.errors import Interrupted
from ccd_cli.core.signals import Signals

BUSY = """
import hashlib, sys
from ccd_cli.core.signals import Signals
with Signals() as signals:
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", int(sys.argv[1]))  # one call, without the interpreter's lock
    print("answered", signals.received, flush=True)
print("left", flush=True)
"""
ROUNDS = {"minutes": "900000000", "seconds": "9000000"}


def busy(length, **variables):
    process = subprocess.Popen(
        [sys.executable, "-c", BUSY, ROUNDS[length]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **variables},
    )
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)  # now it is inside
    return process


@pytest.mark.parametrize("numbers", [(2, 15), (15, 2), (2, 2), (15, 15)])
def test_a_second_signal_ends_a_long_call(numbers):
    process, begun = busy("minutes"), time.monotonic()
    for number in numbers:
        process.send_signal(number)
        time.sleep(0.2)
    out, said = process.communicate(timeout=30)
    assert process.returncode == 128 + numbers[0]
    assert "ended at once" in said
    assert not out
    assert time.monotonic() - begun < 10


def test_the_first_signal_waits_and_says_so():
    process = busy("seconds")
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "answered 2\nleft\n")
    assert "a second signal ends at once" in said


def test_one_of_several_processes_takes_what_comes_at_once_for_one_request():
    """A scheduler signals the workers, and torchrun, which it signals too, hands it on."""
    process = busy("minutes", WORLD_SIZE="2")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.2)
    time.sleep(4)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=30)
    assert (process.returncode, "ended at once" in said) == (130, True)


def test_one_of_several_processes_saves_after_signals_that_come_at_once(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with Signals() as signals:
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGINT):
            os.kill(os.getpid(), number)
        assert signals.received == signal.SIGTERM


def test_a_main_thread_that_answers_may_clean_up():
    with pytest.raises(Interrupted, match="Stopped at once") as error, Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGTERM
        try:
            os.kill(os.getpid(), signal.SIGINT)
        finally:
            time.sleep(1.5)  # beyond the time for an answer
    assert error.value.exit_code == 143


def test_signals_of_a_forked_worker_are_its_own():
    with Signals() as signals:
        worker = os.fork()
        if worker == 0:
            for _ in range(3):
                signal.signal(signal.SIGINT, lambda *_: None)
                os.kill(os.getpid(), signal.SIGINT)
            os._exit(0)
        os.waitpid(worker, 0)
        time.sleep(1.5)
        assert signals.received is None


def test_handlers_are_restored():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Signals(), Signals():
        pass
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert signal.set_wakeup_fd(-1) == -1
