"""What every adapter must do, whatever loop it sits in.

``case.py`` says what is run and what a loop hands back. A loop is a function from the one to the other: ``plain.py``,
``with_fastai.py`` and so on. ``test_contract.py`` holds every loop to the same rules. A new adapter adds a file with its loop, and
a line to ``LOOPS`` there.
"""
