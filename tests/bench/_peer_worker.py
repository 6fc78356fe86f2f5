"""Runs another de-identifier, in that one's own Python: ``python _peer_worker.py PEER OUT ROUNDS FILE...``.

Prints JSON: the shortest time of a round over all files, in seconds. What became of the first file is left in OUT.
"""

import json
import logging
import sys
import time
import warnings
from io import BytesIO
from pathlib import Path


def make(peer):
    """Return a function: path of a file -> bytes of the copy, with the peer's default settings."""
    if peer == "dicom-anonymizer":
        import dicomanonymizer

        def clean(path):
            out = BytesIO()
            dicomanonymizer.anonymize_dicom_file(BytesIO(path.read_bytes()), out)
            return out.getvalue()

    elif peer == "dcm-anonymizer":
        import dcm_anon

        mapper = dcm_anon.UIDMapper("salt")

        def clean(path):
            out = Path(sys.argv[2]).with_suffix(".work")
            dcm_anon.anonymize_file(path, out, mapper)
            return out.read_bytes()

    elif peer == "dcmanon":
        import dcmanon

        anonymizer = dcmanon.Anonymizer()

        def clean(path):
            return bytes(anonymizer.anonymize(str(path)))

    else:
        from deid.config import DeidRecipe
        from deid.dicom import get_identifiers, replace_identifiers

        recipe = DeidRecipe()

        def clean(path):
            found = get_identifiers([str(path)])
            out = BytesIO()
            replace_identifiers([str(path)], ids=found, deid=recipe, save=False)[0].save_as(out)
            return out.getvalue()

    return clean


def main():
    peer, out, rounds, *files = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    clean = make(peer)
    paths = [Path(name) for name in files]
    Path(out).write_bytes(clean(paths[0]))
    times = []
    for _ in range(int(rounds)):
        start = time.perf_counter()
        for path in paths:
            clean(path)
        times.append(time.perf_counter() - start)
    print(json.dumps({"seconds": min(times, default=0.0)}))


main()
