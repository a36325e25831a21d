"""The same model gives the same file in every process, and skops reads it back without trusting anything."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import skops.io
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.model_bytes import model_bytes

ROOT = Path(__file__).resolve().parents[2]
DUMP = """
import hashlib, sys
sys.path.insert(0, "tests/pipelines")
junk = [object() for _ in range(int(sys.argv[1]))]  # other addresses
from test_model_bytes import fitted
from pipelines.model_bytes import model_bytes
print(hashlib.sha256(model_bytes(fitted())).hexdigest())
"""


def fitted() -> object:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 3))
    return make_pipeline(StandardScaler(), LogisticRegression(C=np.inf)).fit(x, x[:, 0] + rng.normal(size=50) > 0)


def test_two_processes_write_the_same_bytes() -> None:
    other = subprocess.run(
        [sys.executable, "-c", DUMP, "1000003"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == hashlib.sha256(model_bytes(fitted())).hexdigest()


def test_the_file_is_read_back_as_the_same_model(tmp_path: Path) -> None:
    path = tmp_path / "model.skops"
    model = fitted()
    path.write_bytes(model_bytes(model))
    x = np.random.default_rng(2).normal(size=(20, 3))
    assert skops.io.get_untrusted_types(file=path) == []
    assert np.array_equal(skops.io.load(path).predict_proba(x), model.predict_proba(x))  # type: ignore[attr-defined]
