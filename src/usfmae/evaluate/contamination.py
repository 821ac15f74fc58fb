"""Whether the encoder has seen the test images while it was pretrained."""

from collections.abc import Collection
from typing import Any

import numpy as np

from usfmae.evaluate.protocol import Task
from usfmae.evaluate.start import Start
from usfmae.images.fingerprint import content_hash

NO_POOL = "no corpus was given to compare with"
SCRATCH = "a random start has seen no images"


def check_contamination(task: Task, start: Start, pool_hashes: Collection[str] | None) -> dict[str, Any]:
    """Count the test images that are in the pretraining pool, by content.

    A match means equal prepared pixels; a near-duplicate (another crop, another compression) is not found.

    Args:
        task: with images of the same size as those of the pool, since the hash is one of prepared pixels.
        start: the encoder before evaluation; a random one has seen nothing.
        pool_hashes: content hashes of the pool; None if it is not known.

    Returns:
        For `result.json`: checked, test_images_in_pool, of, first (a name) if there is a match; or checked
        and why.
    """
    if start.init == "scratch":
        return {"checked": False, "why": SCRATCH}
    if pool_hashes is None:
        return {"checked": False, "why": NO_POOL}
    known = frozenset(pool_hashes)
    tested = np.unique(np.concatenate([split.test for split in task.splits])).tolist()
    seen = [index for index in tested if content_hash(task.images[index]) in known]
    found = {"checked": True, "test_images_in_pool": len(seen), "of": len(tested)}
    return found | {"first": task.items[seen[0]].name} if seen else found
