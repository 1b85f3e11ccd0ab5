"""kill -9 at ten random moments, and the same command again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_ten_kills_change_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "compare_kill.py"
    environment = {
        **os.environ,
        "LUTHIER_CACHE": str(tmp_path / "cache"),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), "7"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hits"] >= 8, "the kills came too late to mean anything"
    assert found["killed"] == found["whole"]
    assert found["again"] == found["whole"]
    assert found["twice"] == []
    assert found["scratch"] == []
    # 2 techniques x 3 seeds + 2 curve points; a kill between a fit and its artifact repeats it.
    assert 8 <= found["fits"] <= 8 + found["hits"]
