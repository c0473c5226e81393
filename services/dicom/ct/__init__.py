"""CT images in: files read within bounds, judged, put in order, as Hounsfield units."""
