"""Ray itself, where it is installed: two workers, one of them killed, and the answers of one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray", reason="needs the extra ray")
psutil = pytest.importorskip("psutil")

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [
    *(sys.executable, "-m", "loratorio_lab", "evaluate", "--networks", "2", "--pictures", "10"),
    *("--methods", "base", "loratorio", "--batch", "1", "--steps", "3"),
]


def lines(out: Path) -> list[str]:
    path = out / "answers.jsonl"
    return path.read_text().splitlines()[1:] if path.exists() else []


def drawing_workers(driver: int) -> list[int]:
    """Processes of this run's Ray that are drawing; Ray titles them so."""
    children = psutil.Process(driver).children(recursive=True)
    return [process.pid for process in children if title(process) == "ray::_Worker.draw"]


def title(process: Any) -> str:
    try:
        return "".join(process.cmdline()[:1])
    except psutil.Error:  # it has ended meanwhile
        return ""


@pytest.mark.slow
def test_a_killed_worker_costs_nothing(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_worker_niceness": "0",  # Ray's workers give way to every other process otherwise
    }
    environment.pop("RAY_ADDRESS", None)
    alone, spread = tmp_path / "alone", tmp_path / "spread"
    subprocess.run([*COMMAND, "--out", str(alone)], env=environment, check=True, capture_output=True)
    driver = subprocess.Popen(
        [*COMMAND, "--out", str(spread), "--workers", "2"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until = time.monotonic() + 120
        while not lines(spread) or not drawing_workers(driver.pid):
            assert time.monotonic() < until and driver.poll() is None, "no worker has drawn anything"
            time.sleep(0.02)
        before = len(lines(spread))
        os.kill(drawing_workers(driver.pid)[0], signal.SIGKILL)
        out, told = driver.communicate(timeout=180)
    finally:
        driver.kill()
    assert driver.returncode == 0, told
    assert "a worker died with " in told
    assert out == (spread / "results.md").read_text() + f"\n{spread / 'results.md'}\n"  # and nothing of Ray's
    assert before < len(lines(spread)) == 20
    assert sorted(lines(spread)) == sorted(lines(alone))
    cells = [json.loads((out / "results.json").read_text())["cells"] for out in (alone, spread)]
    assert sorted(map(json.dumps, cells[0])) == sorted(map(json.dumps, cells[1]))
