#!/usr/bin/env python3
"""Compares the verdicts of the Autobahn|Testsuite with the expected ones, in both directions.

    verdicts.py INDEX all|some      INDEX is the suite's index.json; `all` demands every case of groups 1 to 10

A case that does better than expected fails too: then the expectation is wrong and must be mended.
"""

import json
import sys

# Outside of groups 12 and 13 (compression, which is not offered).
CASES = 301

# The suite accepts two answers to invalid UTF-8: in the middle of the message, and at its end. Ours comes at the end.
# The informational ones have no right answer.
EXPECTED = {
    "6.4.3": "NON-STRICT",
    "6.4.4": "NON-STRICT",
    "7.1.6": "INFORMATIONAL",
    "7.13.1": "INFORMATIONAL",
    "7.13.2": "INFORMATIONAL",
}


def main(index, extent):
    """Prints each wrong verdict and one line with the sum; returns the exit code."""
    with open(index, encoding="utf-8") as file:
        verdicts = json.load(file)["jsocketd"]
    wrong = 0
    for case, verdict in sorted(verdicts.items(), key=lambda item: [int(n) for n in item[0].split(".")]):
        expected = EXPECTED.get(case, "OK")
        # How the connection was closed is judged apart.
        expected_close = "INFORMATIONAL" if expected == "INFORMATIONAL" else "OK"
        got, got_close = verdict["behavior"], verdict["behaviorClose"]
        if (got, got_close) != (expected, expected_close):
            wrong += 1
            print(f"case {case}: {got}, closed {got_close}; expected {expected}, closed {expected_close}")
    missing = max(0, CASES - len(verdicts)) if extent == "all" else 0
    if missing or (extent == "all" and len(verdicts) != CASES):
        print(f"{len(verdicts)} cases ran instead of {CASES}")
        wrong += max(missing, 1)
    total = CASES if extent == "all" else len(verdicts)
    print(f"autobahn: {max(0, total - wrong)} of {total} as expected")
    return 1 if wrong or not verdicts else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
