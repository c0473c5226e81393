"""A CT study in; organ SEG, review SEG and SR out."""
