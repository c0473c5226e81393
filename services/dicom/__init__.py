"""Reading and writing DICOM.

- `foreign`: bytes that anyone may have sent, read within bounds, in a child first
- `compressed`: compressed frames, walked to their end, decoded and proven to be all there
- `ct`: CT images in, as Hounsfield units
- `seg`: anyone's SEG in, as masks on the CT
- `returned`: which result a SEG that came back was made from, and which organ each segment is
- `results`: organ SEG, review SEG and SR out, each proven by reading it back

`identity`, the UIDs of what is written, lies outside: readers of returned SEGs know ours by it. So does
`dictionary`: what DICOM says of the codes in a site's file of organs.

What is wrong with a file is said here by codes and UIDs. The libraries below would repeat the values they
stumble over, names among them, in warnings that end in logs: they are not asked.
"""

import logging
import warnings

_LIBRARIES = ("pydicom", "highdicom")

for _library in _LIBRARIES:
    logging.getLogger(_library).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=_library)
