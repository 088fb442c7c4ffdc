"""Code in a pickle, for tests that it is not run."""

import os


class Evil:
    """Makes a folder, its mark, where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)
