"""Record what a real James writes about everything that provoke.py does: `record.py JARS LOGBACK OUT [JARS FIRST]`.

JARS is a folder with james-server-memory-app and all that it runs on, from Maven Central. LOGBACK is a logback.xml
that writes `james.json` or `james.log` into `${james.log.dir}`. Another folder's jars can go before them, a newer
logback's: james-3.8.1-jsonencoder.log is James 3.8.1 with logback 1.5.18, which is James 3.9's.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.crowdsec.james import James
from tests.crowdsec.provoke import PROXY, cases
from tests.lab.net import network

HEAD = "### "


def _grown(log: Path, start: int) -> str:
    """Return what was written since, once nothing more comes."""
    size = -1
    while size != log.stat().st_size:
        size = log.stat().st_size
        time.sleep(0.3)
    with log.open() as file:
        file.seek(start)
        return file.read()


def main(jars: str, logback: str, out: str, first: str = "") -> None:
    """Start James, do everything, and write the lines below the names of the cases."""
    path = ":".join(f"{folder}/*" for folder in (first, jars) if folder)
    with network() as net, tempfile.TemporaryDirectory() as folder:
        net.mail.ip("address", "add", f"{PROXY}/32", "dev", "lo")
        james = James(net.mail, Path(folder), path, Path(logback).resolve())
        try:
            james.start("-Dreactor.netty.http.server.accessLogEnabled=true")
            log = next(path for path in Path(folder).glob("james.*") if path.suffix in (".json", ".log"))
            with Path(out).open("w") as record:
                for name, case, scene in cases(net):
                    start = log.stat().st_size
                    case(scene)
                    record.write(f"{HEAD}{name}\n{_grown(log, start)}")
        finally:
            james.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
