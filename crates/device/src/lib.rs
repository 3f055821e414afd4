//! What runs on a phone or in a page, around the engine of `kitestring-nn`.
