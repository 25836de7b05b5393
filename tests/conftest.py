"""What all tests share."""

collect_ignore = ["guide"]  # the blocks of the guide import mmengine: test_guide.py runs them
