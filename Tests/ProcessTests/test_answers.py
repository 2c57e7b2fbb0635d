# SPDX-License-Identifier: ISC
"""Answers beside a plain evaluation, and promises beside `kill -9`: `answers.py` and `crash.py`, for a moment."""

import random

import answers
import crash
from martlet import TestCase


class Answers(TestCase):
    """With an index, without, and with one that is deleted meanwhile."""

    def check(self, seconds, count, **options):
        seed = random.randrange(1_000_000)
        print("         seed %d" % seed)
        load = answers.run(seconds, seed, count, **options)
        print("         %d questions, %d renames" % (load.asked, load.renamed))
        self.assertEqual([], load.problems)
        self.assertEqual([], load.crashes)
        self.assertGreater(load.asked, 30)

    def test_when_all_is_quiet(self):
        self.check(4, 200, calm=True)

    def test_while_files_are_renamed(self):
        self.check(6, 300, kills=False)

    def test_while_the_process_ends(self):
        self.check(6, 300)


class Crashes(TestCase):
    def test_what_was_acknowledged_outlives_the_process(self):
        seed = random.randrange(1_000_000)
        print("         seed %d" % seed)
        load = crash.run(6, seed)
        print("         %d commands acknowledged" % load.know.acknowledged)
        self.assertGreater(load.know.acknowledged, 30)

    def test_in_a_mailbox_of_a_thousand(self):
        seed = random.randrange(1_000_000)
        print("         seed %d" % seed)
        load = crash.run(4, seed, messages=3_000)
        self.assertGreater(load.know.acknowledged, 10)
