"""Reading and writing DICOM.

What is wrong with a file is said here by codes and UIDs. The libraries below would repeat the values they
stumble over, names among them, in warnings that end in logs: they are not asked.
"""

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom")

for _library in _LIBRARIES:
    logging.getLogger(_library).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=_library)
