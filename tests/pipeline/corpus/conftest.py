"""What the tests of the door share: read a corpus, see its documents."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pytest

from pipeline import store
from pipeline.config import InputConfig
from pipeline.corpus.documents import read_corpus

Read: TypeAlias = Callable[..., tuple[store.Artifact, Any]]


@pytest.fixture
def read(tmp_path_factory: pytest.TempPathFactory) -> Read:
    """Read paths (or `dataset=`) with settings; return the artifact and all documents as one Arrow table."""

    def _read(*paths: Path | str, **settings: Any) -> tuple[store.Artifact, Any]:
        config = InputConfig(paths=tuple(map(str, paths)), **settings)
        artifact = read_corpus(config, str(tmp_path_factory.mktemp("documents")))
        return artifact, pa.concat_tables(store.iter_arrow(artifact))

    return _read
