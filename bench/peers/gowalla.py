"""Gowalla in LightGCN's split, and how well a full ranking does on it."""

import gzip

from common import data_path

CUT = 20


def read(path):
    """Users and items of a file whose lines are a user and its items."""
    import numpy as np

    users, items = [], []
    with gzip.open(path, "rt") as file:
        for line in file:
            user, *liked = line.split()
            users += [int(user)] * len(liked)
            items += map(int, liked)
    return np.array(users, np.int32), np.array(items, np.int32)


def matrices():
    """Training and test visits, users x items, CSR."""
    import numpy as np
    from scipy.sparse import csr_matrix

    folder = data_path("gowalla")
    pairs = [read(folder / f"{split}.txt.gz") for split in ("train", "test")]
    shape = [max(part[side].max() for part in pairs) + 1 for side in (0, 1)]
    return [csr_matrix((np.ones(len(u), np.float32), (u, i)), shape=shape) for u, i in pairs]


def quality(found, test):
    """Recall and NDCG of found items (users x CUT) against a CSR matrix of test items."""
    import numpy as np

    count = np.diff(test.indptr)
    hit = np.zeros(found.shape, bool)
    for user in np.flatnonzero(count):
        hit[user] = np.isin(found[user], test.indices[test.indptr[user] : test.indptr[user + 1]])
    gain = 1 / np.log2(np.arange(2, CUT + 2))
    ideal = np.r_[0, np.cumsum(gain)][np.minimum(count, CUT)]
    some = count > 0
    return (hit.sum(1)[some] / count[some]).mean(), ((hit @ gain)[some] / ideal[some]).mean()
