"""Makes real-looking data for `cargo xtask bench`: sentences and their embeddings.

The sentences are the doc comments of the crates in cargo's registry folder (which every build of Holdfast fills), the
embeddings come from wordllama, a small static model whose weights its PyPI package ships: nothing else is fetched.

    python3 -m venv v && v/bin/pip install wordllama && v/bin/python embed.py OUT 800000

writes OUT/vectors.f32 (rows of little-endian f32, unit length) and OUT/texts.jsonl ({"text", "source", "line"}), in the
same order. The same registry gives the same files.
"""

import json
import os
import pathlib
import sys

import numpy
import wordllama


def sentences(limit):
    """Yields (text, file, line) of distinct comments, in the order of their paths."""
    home = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo"))
    seen = set()
    for folder in sorted((home / "registry" / "src").iterdir()):
        for path in sorted(folder.rglob("*.rs")):
            try:
                lines = path.read_text(encoding="utf-8").splitlines()
            except (UnicodeDecodeError, OSError):
                continue
            before = ""
            for number, line in enumerate(lines, 1):
                line = line.strip()
                if not line.startswith(("///", "//!", "// ")):
                    before = ""
                    continue
                line = line.lstrip("/! ")
                # a line, and the line with the one before it: passages overlap as they do in a search index
                for text in (line, f"{before} {line}") if before else (line,):
                    if 24 <= len(text) <= 400 and text not in seen:
                        seen.add(text)
                        yield text, str(path.relative_to(folder)), number
                        if len(seen) == limit:
                            return
                before = line


def main():
    out, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    out.mkdir(parents=True, exist_ok=True)
    # The package looks for its own tokenizer in a folder that it misspells; as a cache folder it is found.
    package = pathlib.Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(cache_dir=package, disable_download=True)
    batch, written = [], 0
    with open(out / "vectors.f32", "wb") as vectors, open(out / "texts.jsonl", "w") as texts:
        def flush():
            rows = model.embed([text for text, _, _ in batch], norm=True)
            numpy.asarray(rows, dtype="<f4").tofile(vectors)
            for text, source, line in batch:
                texts.write(json.dumps({"text": text, "source": source, "line": line}) + "\n")

        for row in sentences(limit):
            batch.append(row)
            if len(batch) == 4096:
                flush()
                written += len(batch)
                batch.clear()
        if batch:
            flush()
            written += len(batch)
    print(f"{written} sentences, {model.embedding.shape[1]} dimensions", file=sys.stderr)
    if written < limit:
        sys.exit(f"only {written} distinct sentences were found")


main()
