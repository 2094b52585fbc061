"""`warpbeam verify`: ids, objects, vectors and indexes of a loaded collection, compared with the source."""
