"""Coverage-guided fuzzing of every decoder that reads what strangers send.

A target takes bytes and raises only what the decoder documents. `python -m tests.fuzz` runs the targets with
atheris, each for a bounded time; what it finds beyond the seeds goes to `build/fuzz/`. The corpus under
`tests/fuzz/corpus/` is part of the suite: `test_corpus.py` replays it, without atheris.
"""
