#!/usr/bin/env python3
"""Reads pkg_websockets.xml as Joomla's updater does, and compares it with the package beside it.

tests/release/updates.py FOLDER VERSION
"""

import hashlib
import re
import sys
import xml.etree.ElementTree as ElementTree
import zipfile
from pathlib import Path

folder, version = Path(sys.argv[1]), sys.argv[2]
updates = ElementTree.parse(folder / "pkg_websockets.xml").getroot()
(update,) = updates.findall("update")
package = folder / f"pkg_websockets-{version}.zip"
address = update.findtext("downloads/downloadurl")
expected = {"element": "pkg_websockets", "type": "package", "version": version}
assert {name: update.findtext(name) for name in expected} == expected
assert address == f"https://downloads.example.org/jsocketd/{package.name}", address
assert update.findtext("sha512") == hashlib.sha512(package.read_bytes()).hexdigest()

# Joomla compares the beginning of its version.
platforms = update.find("targetplatform").get("version")
for joomla, fits in {"4.4.0": True, "5.3.2": True, "6.1.0": True, "3.10.12": False, "4.3.4": False, "7.0.0": False}.items():
    assert bool(re.match(platforms, joomla)) == fits, joomla

manifest = zipfile.ZipFile(package).read("pkg_websockets.xml").decode()
assert ">https://downloads.example.org/jsocketd/pkg_websockets.xml</server>" in manifest
