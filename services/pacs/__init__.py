"""Where studies come from and results go to: DICOMweb, Orthanc, DIMSE, folders."""
