"""Speed and memory, each next to a plain baseline; run by hand or by ``make bench``, never part of the tests."""
