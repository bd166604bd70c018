"""Files that break decoders: each ends with exactly one stated outcome, the one in the table, soon, in bounded memory.

The decoding runs in a process of its own: a crash or a hang there is one failed file, not the end of the suite. The
table next to this file is written by `python tests/reliability/test_malformed.py`; a change of outcome then shows in
review.
"""

import json
import os
import re
import select
import subprocess
import sys
from pathlib import Path

import PIL
import pytest

HERE = Path(__file__).resolve().parent
DATA = Path(os.environ.get("MMSEARCH_DATA") or HERE.parents[2] / "shared" / "data") / "malformed"
TABLES = {"image": HERE / "malformed_image.tsv", "audio": HERE / "malformed_audio.tsv"}

SECONDS = 20  # a file; the slowest takes 0.2 s on an idle machine
PEAK_MB = 400  # of the whole process, numpy and Pillow included; measured 130

pytestmark = pytest.mark.data


def work():
    """The worker: says that it is ready, then takes one JSON path a line and answers with one JSON outcome a line."""
    import mmsearch.media.image  # the first file shall not be charged with loading a decoder
    import mmsearch.media.video  # noqa: F401
    from mmsearch.errors import MediaError
    from mmsearch.media.decode import decode
    from mmsearch.media.files import read
    from mmsearch.types import EncoderSpec, ImageInput, Modality

    spec = EncoderSpec(
        name="square",
        space="square",
        dim=1,
        modalities=frozenset(Modality) - {Modality.TEXT},
        licence="none",
        image=ImageInput(size=224),
        audio_rate=16_000,
    )
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            decoded = decode(read(os.fsencode(json.loads(line))), spec)
        except MediaError as error:
            outcome = type(error).__name__.lower(), str(error)
        else:
            for piece in decoded.pieces:
                assert piece.content.shape == (224, 224, 3) or (piece.content.ndim == 1 and len(piece.content))
            outcome = ("partial", decoded.partial) if decoded.partial else ("ok", "")
        print(json.dumps(outcome), flush=True)


class Worker:
    def __init__(self):
        command = [sys.executable, "-c", "import test_malformed; test_malformed.work()"]
        self.process = subprocess.Popen(
            command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert self.process.stdout.readline() == b"ready\n", "the worker did not start: its error is above"

    def outcome(self, path):
        self.process.stdin.write(json.dumps(str(path)).encode() + b"\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], SECONDS)[0]:
            self.process.kill()
            return "hang", ""
        line = self.process.stdout.readline()
        return tuple(json.loads(line)) if line else ("crash", "")

    def close(self):
        """Ends the process and returns its peak memory in MB; 0 for one that is dead already."""
        # Not `ru_maxrss`: Linux counts in it the peak of the process that forked this one, which may hold torch.
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        return int(peak[1]) / 1024 if peak else 0.0


def outcomes(kind):
    """Every file's outcome and reason by relative name, and the largest peak memory in MB."""
    folder = DATA / kind
    table, peak, worker = {}, 0.0, Worker()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "LICENSE"):
        outcome = worker.outcome(path)
        table[str(path.relative_to(folder))] = outcome
        if outcome[0] in ("hang", "crash"):
            peak, worker = max(peak, worker.close()), Worker()
    return table, max(peak, worker.close())


def versions(kind):
    """What decodes such files, and in which version: the outcomes are theirs."""
    if kind == "image":
        return f"Pillow {PIL.__version__}"
    soundfile, av = pytest.importorskip("soundfile"), pytest.importorskip("av")
    return f"libsndfile {soundfile.__libsndfile_version__} and PyAV {av.__version__}"


def read_table(kind):
    """The versions that the table was made with, and its rows."""
    head, *lines = TABLES[kind].read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    return head.split(" with ")[1].split(":")[0], {name: (outcome, reason) for name, outcome, reason in rows}


@pytest.mark.parametrize("kind", TABLES)
def test_every_file_ends_as_the_table_says(kind):
    if not (DATA / kind).is_dir():
        pytest.skip(f"no folder {DATA / kind}: set MMSEARCH_DATA to the shared data")
    here = versions(kind)
    actual, peak = outcomes(kind)
    assert {name: row for name, row in actual.items() if row[0] in ("hang", "crash")} == {}
    assert all(reason or outcome == "ok" for outcome, reason in actual.values())
    assert peak < PEAK_MB
    version, expected = read_table(kind)
    if version != here:
        pytest.skip(f"the table was made with {version}: run `python tests/reliability/test_malformed.py`")
    assert actual == expected


def test_a_crash_and_a_hang_are_seen(tmp_path, monkeypatch):
    """The null control: a worker that dies or sleeps is told from one that answers."""
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 1)
    for program, expected in (("import os; input(); os.abort()", "crash"), ("import time; time.sleep(60)", "hang")):
        worker = Worker()
        worker.close()
        command = [sys.executable, "-c", program]
        worker.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert worker.outcome(tmp_path)[0] == expected
        worker.close()


def main():
    for kind, table in TABLES.items():
        rows, peak = outcomes(kind)
        lines = [f"# Outcomes of malformed/{kind} with {versions(kind)}: name, outcome, reason"]
        lines += ["\t".join((name, *row)) for name, row in rows.items()]
        table.write_text("\n".join(lines) + "\n")
        print(f"{table.name}: {len(rows)} files, peak {peak:.0f} MB")


if __name__ == "__main__":
    main()
