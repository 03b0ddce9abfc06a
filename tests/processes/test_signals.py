"""SIGTERM and SIGHUP are taken as Ctrl-C is."""

import signal
import subprocess
import sys

import pytest

from edgeprune.processes.signals import exit_code, stop_at_once, stop_on_interrupt


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_each_asks_for_a_stop_and_gives_its_exit_code(signum: signal.Signals) -> None:
    before = signal.getsignal(signum)
    with stop_at_once(), stop_on_interrupt() as stop:
        assert not stop()
        signal.raise_signal(signum)
        assert stop()
        assert exit_code() == 128 + signum
    assert signal.getsignal(signum) is before


def test_a_closing_terminal_sends_several() -> None:
    with stop_on_interrupt() as stop:
        for signum in (signal.SIGHUP, signal.SIGHUP, signal.SIGTERM):
            signal.raise_signal(signum)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP])
def test_elsewhere_they_end_the_block_and_all_is_cleaned_up(signum: signal.Signals) -> None:
    cleaned = []
    with pytest.raises(KeyboardInterrupt), stop_at_once():
        try:
            signal.raise_signal(signum)
        finally:
            signal.raise_signal(signum)  # a second one does not cut that short
            cleaned.append(True)
    assert cleaned and exit_code() == 128 + signum


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    """As nohup has it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_at_once(), stop_on_interrupt() as stop:
            signal.raise_signal(signal.SIGHUP)
            assert not stop()
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_command_line_ends_with_the_signal_s_code() -> None:
    code = """
import os, signal, click
from edgeprune.cli import main
@main.command()
def wait():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        print("cleaned up", flush=True)
main(["wait"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (143, "cleaned up\n", "stopped\n")
