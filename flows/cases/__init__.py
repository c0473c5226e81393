"""Cases with truth: kept, accepted, frozen, erased; and features kept while serving."""
