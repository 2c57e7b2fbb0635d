#!/usr/bin/env python3
# SPDX-License-Identifier: ISC
"""Runs the Python tests: Tests/run.py [--time SECONDS] [--xunit FILE] [SUITE | PATTERN] ...

A suite is a folder (RuleTests, ProcessTests, ClientTests; all by default); any other word selects
the tests with it in their name. Ends with a line `N passed, N failed, N left out`.
"""

import argparse
import faulthandler
import importlib
import os
import pathlib
import signal
import sys
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
SUITES = ["RuleTests", "ProcessTests", "ClientTests"]


class TooLong(BaseException):
    """Not an Exception, so that nothing in a test takes it for a time-out of its own."""


class Results(unittest.TextTestResult):
    """Prints each test as it ends, with the servers' logs where it failed."""

    seconds_max = 180

    def startTest(self, test):
        unittest.TestResult.startTest(self, test)
        self.began = time.monotonic()
        signal.alarm(self.seconds_max)

    def stopTest(self, test):
        signal.alarm(0)
        super().stopTest(test)

    def tell(self, test, outcome, details=""):
        seconds = time.monotonic() - getattr(self, "began", time.monotonic())
        self.stream.writeln("%-8s %6.2f s  %s" % (outcome, seconds, test.id()))
        if details:
            self.stream.writeln(details)
        self.stream.flush()

    def printErrors(self):
        """All was told when it happened."""

    passed = 0
    left_out = 0

    def addSuccess(self, test):
        self.passed += 1
        self.tell(test, "passed")

    def _failed(self, test, error, outcome):
        details = self._exc_info_to_string(error, test)
        martlet = sys.modules.get("martlet")
        if martlet:
            details += martlet.recent_logs()
        self.failures.append((test, details))
        self.tell(test, outcome, details)

    def addFailure(self, test, error):
        self._failed(test, error, "FAILED")

    def addError(self, test, error):
        self._failed(test, error, "FAILED")

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._failed(subtest, error, "FAILED")

    def addSkip(self, test, reason):
        self.left_out += 1
        self.tell(test, "left out", "         " + reason)

    def addExpectedFailure(self, test, error):
        self._failed(test, error, "FAILED")

    def addUnexpectedSuccess(self, test):
        self.addSuccess(test)


def all_tests(suite):
    for each in suite:
        if isinstance(each, unittest.TestSuite):
            yield from all_tests(each)
        else:
            yield each


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=int, default=180, help="seconds for one test")
    parser.add_argument("--list", action="store_true", help="names the tests and runs none")
    parser.add_argument("words", nargs="*")
    arguments = parser.parse_args()
    suites = [word for word in arguments.words if word in SUITES] or SUITES
    patterns = [word for word in arguments.words if word not in SUITES]

    faulthandler.enable()
    sys.path.insert(0, str(HERE / "ProcessTests"))
    loader = unittest.TestLoader()
    chosen = unittest.TestSuite()
    for name in suites:
        sys.path.insert(0, str(HERE / name))
        for path in sorted((HERE / name).glob("test_*.py")):
            module = importlib.import_module(path.stem)
            for test in all_tests(loader.loadTestsFromModule(module)):
                if not patterns or any(pattern in test.id() for pattern in patterns):
                    chosen.addTest(test)
    if arguments.list:
        for test in chosen:
            print(test.id())
        return 0

    def alarm(*_):
        raise TooLong("a test took too long")

    signal.signal(signal.SIGALRM, alarm)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    Results.seconds_max = arguments.time
    runner = unittest.TextTestRunner(
        stream=sys.stdout, verbosity=0, resultclass=Results, warnings="ignore"
    )
    result = runner.run(chosen)
    print("%d passed, %d failed, %d left out"
          % (result.passed, len(result.failures), result.left_out))
    return 1 if result.failures or not (result.passed or result.left_out) else 0


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    sys.dont_write_bytecode = True
    sys.exit(main())
