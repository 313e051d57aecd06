"""Writes hdbscan.json: clusters that scikit-learn finds, for the tests of `detect::hdbscan`.

python hdbscan_reference.py > hdbscan.json     (numpy, scikit-learn; versions are in the file)
"""

import json

import numpy
import sklearn
from sklearn.cluster import HDBSCAN

generator = numpy.random.default_rng(20261121)


def euclidean(points):
    differences = points[:, None, :] - points[None, :, :]
    return numpy.sqrt((differences**2).sum(axis=2))


def cosine(points):
    unit = points / numpy.linalg.norm(points, axis=1, keepdims=True)
    distances = numpy.clip(1 - unit @ unit.T, 0, None)
    numpy.fill_diagonal(distances, 0)
    return distances


def blobs(sizes, dimensions, spread):
    centres = generator.normal(size=(len(sizes), dimensions)) * 4
    return numpy.concatenate(
        [centre + spread * generator.normal(size=(size, dimensions)) for centre, size in zip(centres, sizes)]
    )


def cases():
    # FLAME's use: more than half of the rows, single linkage, one cluster.
    for honest, malicious in [(9, 4), (16, 4), (12, 0), (15, 10)]:
        direction = generator.normal(size=30)
        points = numpy.concatenate(
            [
                direction + 0.5 * generator.normal(size=(honest, 30)),
                -direction + 0.2 * generator.normal(size=(malicious, 30)),
            ]
        )
        n = honest + malicious
        yield f"flame {honest}+{malicious}", cosine(points), n // 2 + 1, 1
    for sizes, spread in [((12, 9, 7), 0.5), ((20, 20), 1.0), ((30,), 1.0), ((8, 8, 8, 8), 1.6)]:
        for least, samples in [(3, 1), (5, 3), (5, 5)]:
            yield f"blobs {sizes} {spread}", euclidean(blobs(sizes, 3, spread)), least, samples
    yield "uniform", euclidean(generator.uniform(size=(25, 2))), 4, 2
    yield "two rows", numpy.array([[0.0, 1.5], [1.5, 0.0]]), 2, 1
    yield "fewer rows than a cluster needs", euclidean(generator.uniform(size=(4, 2))), 6, 1


written = []
for name, distances, least, samples in cases():
    # Written and read back first, so that both sides see the same numbers.
    distances = numpy.round((distances + distances.T) / 2, 9)
    model = HDBSCAN(
        metric="precomputed",
        min_cluster_size=least,
        min_samples=samples,
        allow_single_cluster=True,
        copy=True,
    )
    labels = model.fit(distances).labels_.tolist()
    upper = [distances[i, j] for i in range(len(distances)) for j in range(i)]
    written.append(
        {
            "name": name,
            "n": len(distances),
            "min_cluster_size": least,
            "min_samples": samples,
            "below_diagonal": upper,
            "labels": labels,
        }
    )
header = {"scikit-learn": sklearn.__version__, "numpy": numpy.__version__}
cases = ",\n".join(json.dumps(case) for case in written)
print(json.dumps(header)[:-1] + ', "cases": [\n' + cases + "\n]}")
