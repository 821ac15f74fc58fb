"""Ray gives what one process gives, down to the byte, and fails with a message."""

import math
import os

import pytest

from usfmae.base.errors import CorpusError, ImageError
from usfmae.corpus.build import build_corpus
from usfmae.corpus.crew import Crew
from usfmae.corpus.sources import Source

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield
    ray.shutdown()


def test_every_job_gives_one_result():
    jobs = list(range(3, 23))
    assert sorted(Crew(2, "ray").run(math.factorial, jobs)) == [math.factorial(job) for job in jobs]
    assert list(Crew(2, "ray").run(math.factorial, [])) == []


def test_a_corpus_is_the_same_to_the_byte(scans, corpus, config, tmp_path):
    out = tmp_path / "ray"
    by_ray = build_corpus([Source("scans", scans)], out=out, config=config, workers=2, engine="ray")
    assert by_ray.sha256 == corpus.sha256
    for shard in corpus.record["shards"]:
        assert (out / shard["path"]).read_bytes() == (corpus.folder / shard["path"]).read_bytes()


def test_what_a_job_raises_comes_through_with_its_hint():
    with pytest.raises(ImageError, match="no picture") as caught:
        list(Crew(2, "ray").run(_fail, [0, 1]))
    assert caught.value.hint == "look again"


def _fail(_: int) -> None:
    raise ImageError("no picture", hint="look again")


def test_a_worker_that_always_dies_is_an_error_that_says_how_to_go_on():
    with pytest.raises(CorpusError, match="ray: ") as caught:
        list(Crew(2, "ray").run(os._exit, [1]))
    assert "--resume" in caught.value.hint
